//! Istio's Sidecar.
//!
//! An unknown field is an error here: without the field, the workload would see more than
//! its author wrote.

use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, is_dns_label, is_dns_subdomain, labels, located, port, string,
};
use crate::model::{
    HostNamespace, Labels, OutboundTrafficMode, Resource, Sidecar, SidecarEgress, SidecarHost,
};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let sidecar = fields.required("spec", spec);
    fields.finish(&[]);
    sidecar.map(Resource::Sidecar)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<Sidecar> {
    let mut spec = Fields::of(d, node)?;
    let workload_selector = spec.optional("workloadSelector", located(selector));
    let egress = spec.list("egress", listener);
    let outbound_traffic_policy = spec.optional("outboundTrafficPolicy", |d, node| {
        let mut policy = Fields::of(d, node)?;
        let mode = policy.optional("mode", |d, node| {
            let modes = [
                ("REGISTRY_ONLY", OutboundTrafficMode::RegistryOnly),
                ("ALLOW_ANY", OutboundTrafficMode::AllowAny),
            ];
            choice(d, node, "a mode", &modes)
        });
        not_honoured(&mut policy, &["egressProxy"]);
        policy.finish_strictly();
        // Istio's default of the field, not of the mesh.
        Some(mode.unwrap_or(OutboundTrafficMode::RegistryOnly))
    });
    not_honoured(&mut spec, &["inboundConnectionPool", "ingress"]);
    spec.finish_strictly();
    Some(Sidecar {
        workload_selector,
        egress,
        outbound_traffic_policy,
    })
}

fn selector(d: &mut Decoder, node: &Node) -> Option<Labels> {
    let mut selector = Fields::of(d, node)?;
    let labels = selector.required("labels", labels);
    selector.finish_strictly();
    labels
}

fn listener(d: &mut Decoder, node: &Node) -> Option<SidecarEgress> {
    let mut listener = Fields::of(d, node)?;
    let number = listener.optional("port", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let number = fields.required("number", port);
        fields.ignore(&["name", "protocol", "targetPort"]);
        fields.finish_strictly();
        number
    });
    let hosts = listener.required_list("hosts", host);
    not_honoured(&mut listener, &["bind", "captureMode"]);
    listener.finish_strictly();
    Some(SidecarEgress {
        port: number,
        hosts: hosts?,
    })
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
    let namespace = match namespace {
        "*" => HostNamespace::Any,
        "." => HostNamespace::Own,
        "~" => HostNamespace::None,
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
        d.warning(node.mark, codes::SIDECAR, message);
    }
    Some(SidecarHost {
        at: d.position(node.mark),
        namespace,
        host,
    })
}

/// Reports fields of the API on which the host does not act.
fn not_honoured(fields: &mut Fields<'_, '_>, names: &[&'static str]) {
    for name in names {
        if fields.has(name) {
            let message = "is not supported by this host; it has no effect".to_owned();
            fields.warn_at(name, codes::NOT_HONOURED, message);
        }
    }
    fields.ignore(names);
}
