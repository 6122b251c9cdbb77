//! Istio's Sidecar.
//!
//! An unknown field is an error here: without the field, the workload would see more than
//! its author wrote.

mod ingress;

use std::collections::HashSet;

use super::{connection_pool, destination, gateway, service_entry};
use crate::codes;
use crate::decode::{
    Decoder, Fields, bind_address, choice, is_dns_label, is_dns_subdomain, items, labels, located,
    port, steps, string,
};
use crate::model::{
    HostNamespace, Labels, OutboundTrafficMode, Protocol, Resource, Sidecar, SidecarEgress,
    SidecarHost,
};
use crate::yaml::{Mark, Node};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let sidecar = fields.required("spec", spec);
    fields.finish(&[]);
    sidecar.map(Resource::Sidecar)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<Sidecar> {
    let mut spec = Fields::of(d, node)?;
    let workload_selector = spec.optional("workloadSelector", located(selector));
    if let Some(selector) = &workload_selector
        && selector.value.is_empty()
    {
        let message = "has no labels, so this applies to every workload of the namespace";
        spec.warn_at("workloadSelector", codes::INVALID_VALUE, message.to_owned());
    }
    let parts = [
        "egress",
        "ingress",
        "outboundTrafficPolicy",
        "inboundConnectionPool",
    ];
    if !parts.iter().any(|part| spec.has_entries(part)) {
        let mark = spec.mark;
        let message = "a Sidecar without settings; set egress or outboundTrafficPolicy";
        spec.d.error(mark, codes::MISSING_FIELD, message);
    }
    let egress = spec.list("egress", listener);
    check_listeners(spec.d, &egress);
    let outbound_traffic_policy = spec.optional("outboundTrafficPolicy", |d, node| {
        let mut policy = Fields::of(d, node)?;
        let mode = policy.optional("mode", |d, node| {
            let modes = [
                ("REGISTRY_ONLY", OutboundTrafficMode::RegistryOnly),
                ("ALLOW_ANY", OutboundTrafficMode::AllowAny),
            ];
            choice(d, node, "a mode", &modes)
        });
        if policy.has("egressProxy") && mode != Some(OutboundTrafficMode::AllowAny) {
            let message = "needs `mode: ALLOW_ANY`".to_owned();
            policy.error_at("egressProxy", codes::EXCLUSIVE_FIELDS, message);
        }
        policy.without_effect("egressProxy", destination::read);
        policy.finish_strictly();
        // Istio's default of the field, not of the mesh.
        Some(mode.unwrap_or(OutboundTrafficMode::RegistryOnly))
    });
    spec.without_effect("inboundConnectionPool", connection_pool::read);
    let mut ports = HashSet::new();
    spec.without_effect("ingress", |d, node| {
        items(d, node, |d, node| ingress::read(d, node, &mut ports))
    });
    spec.finish_strictly();
    Some(Sidecar {
        workload_selector,
        egress,
        outbound_traffic_policy,
    })
}

fn selector(d: &mut Decoder, node: &Node) -> Option<Labels> {
    let mut selector = Fields::of(d, node)?;
    let labels = selector.optional("labels", labels);
    selector.finish_strictly();
    Some(labels.unwrap_or_default())
}

fn listener(d: &mut Decoder, node: &Node) -> Option<SidecarEgress> {
    let mut listener = Fields::of(d, node)?;
    let port = listener.optional("port", listener_port);
    let hosts = listener.required_list("hosts", host);
    listener.without_effect("bind", bind_address);
    listener.without_effect("captureMode", capture_mode);
    listener.finish_strictly();
    Some(SidecarEgress {
        at: d.position(node.mark),
        port: port.map(|(number, _)| number),
        hosts: hosts?,
    })
}

/// The number and the protocol of a listener's port.
fn listener_port(d: &mut Decoder, node: &Node) -> Option<(u16, Option<Protocol>)> {
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("number", port);
    let protocol = fields.optional("protocol", gateway::protocol);
    fields.optional("name", service_entry::port_name);
    if fields.has("targetPort") {
        let message = "has no meaning for a Sidecar; remove it".to_owned();
        fields.error_at("targetPort", codes::INVALID_VALUE, message);
    }
    fields.ignore(&["targetPort"]);
    fields.finish_strictly();
    Some((number?, protocol))
}

fn capture_mode(d: &mut Decoder, node: &Node) -> Option<()> {
    let modes = [("DEFAULT", ()), ("IPTABLES", ()), ("NONE", ())];
    choice(d, node, "a capture mode", &modes)
}

/// One listener may be for all ports, and it is the last; each other has its own port.
fn check_listeners(d: &mut Decoder, egress: &[SidecarEgress]) {
    for (index, listener) in egress.iter().enumerate() {
        let message = match listener.port {
            None if index + 1 < egress.len() => {
                "a listener without a port is for all other ports, and must be the last".to_owned()
            }
            Some(port) if egress[..index].iter().any(|it| it.port == Some(port)) => {
                format!("port {port} has an earlier listener; put all hosts into one of them")
            }
            _ => continue,
        };
        let mark = Mark::from(&listener.at);
        d.within(steps!["egress", index], |d| {
            d.error(mark, codes::INVALID_VALUE, message);
        });
    }
}

fn host(d: &mut Decoder, node: &Node) -> Option<SidecarHost> {
    let text = string(d, node)?;
    let Some((namespace, name)) = text.split_once('/') else {
        let shown = d.show(&text);
        let message = format!(
            "{shown} has no namespace; write `NAMESPACE/HOST`, with `.` for the own namespace and \
             `*` for any"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    };
    let (excluded, namespace) = match namespace.strip_prefix('~') {
        Some("") => (true, "*"),
        Some(namespace) => (true, namespace),
        None => (false, namespace),
    };
    let namespace = match namespace {
        "*" => HostNamespace::Any,
        "." => HostNamespace::Own,
        name if is_dns_label(name) => HostNamespace::Named(name.to_owned()),
        other => {
            let shown = d.show(other);
            let message = format!("{shown} is not a namespace; `.` means this one, `*` any");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
    };
    let host = name.to_ascii_lowercase();
    let bare = host.strip_prefix("*.").unwrap_or(&host);
    if host != "*" && !is_dns_subdomain(bare) {
        let shown = d.show(name);
        let message = format!("{shown} is not a host; `*` is only allowed alone or as first label");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    if host != "*" && !host.contains('.') {
        let message = format!(
            "`{host}` matches no Service: a host here is a full name, such as \
             `{host}.NAMESPACE.svc.cluster.local`"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(SidecarHost {
        at: d.position(node.mark),
        excluded,
        namespace,
        host,
    })
}
