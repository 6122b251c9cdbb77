//! What servers of several Gateways have in common, and the Services before a gateway.

use std::collections::HashMap;

use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{Gateway, Labels, Object, PortReference, Server, ServerTls, gateway_labels};

/// A server, with the selector of its Gateway.
type Claim<'a> = (&'a Labels, &'a Object, &'a Server);

/// Gateways by the names of a certificate; a Secret's has the namespace in front.
type Certificates<'a> = HashMap<Vec<&'a str>, Vec<(&'a Object, &'a Gateway)>>;

/// Reports servers with the same host on one port of the same gateway workload.
pub(super) fn conflicts(index: &Index<'_>, report: &mut Report) {
    let mut claimed: HashMap<(u16, String), Vec<Claim<'_>>> = HashMap::new();
    for (object, gateway) in &index.gateways_in_order {
        for (at, server) in gateway.servers.iter().enumerate() {
            for (host_at, host) in server.hosts.iter().enumerate() {
                let key = (server.port.value, host.to_ascii_lowercase());
                let others = claimed.entry(key).or_default();
                let found = others
                    .iter()
                    .find(|(selector, ..)| are_of_one_gateway(index, selector, &gateway.selector));
                let Some((_, first, first_server)) = found else {
                    others.push((&gateway.selector, object, server));
                    continue;
                };
                let message = format!(
                    "port {} of `{host}` is claimed by Gateway/{} at {} too",
                    server.port, first.metadata.name, first_server.at
                );
                let path = format!("spec.servers[{at}].hosts[{host_at}]");
                report.warning(object, &host.at, path, codes::CONFLICTING_GATEWAYS, message);
            }
        }
    }
}

/// Whether both select one gateway: pods that are declared, or this host's gateway.
fn are_of_one_gateway(index: &Index<'_>, one: &Labels, other: &Labels) -> bool {
    let narrower = if is_part(one, other) { other } else { one };
    one == other
        || select_the_same(one, other)
            && (is_part(narrower, &gateway_labels())
                || !index.selected_anywhere(narrower).is_empty())
}

/// Whether every workload that one selects is one of the other's.
fn select_the_same(one: &Labels, other: &Labels) -> bool {
    is_part(one, other) || is_part(other, one)
}

fn is_part(labels: &Labels, of: &Labels) -> bool {
    labels.iter().all(|(key, value)| of.get(key) == Some(value))
}

/// Reports a certificate of two Gateways of one workload. A client that knows the certificate to
/// be valid for a host of the other Gateway uses its connection for that host too, and gets 404.
pub(super) fn shared_certificates(index: &Index<'_>, report: &mut Report) {
    let mut known: Certificates<'_> = HashMap::new();
    for (object, gateway) in &index.gateways_in_order {
        for (at, server) in gateway.servers.iter().enumerate() {
            let names = server
                .tls
                .as_ref()
                .map(|tls| sources(tls, index.secrets_of(object)));
            let Some(names) = names.filter(|it| !it.is_empty()) else {
                continue;
            };
            let others = known.entry(names).or_default();
            let found = others.iter().find(|(other, earlier)| {
                !std::ptr::eq(*other, *object)
                    && select_the_same(&earlier.selector, &gateway.selector)
            });
            if let Some((other, _)) = found {
                let message = format!(
                    "Gateway/{} at {} has the same certificate, so a client may use one HTTP/2 \
                     connection for the hosts of both; use one Gateway",
                    other.metadata.name, other.at
                );
                let path = format!("spec.servers[{at}].tls");
                report.warning(object, &server.at, path, codes::SHARED_CERTIFICATE, message);
            }
            if !others
                .iter()
                .any(|(other, _)| std::ptr::eq(*other, *object))
            {
                others.push((object, gateway));
            }
        }
    }
}

/// The names of a server's certificates, which are in the namespace `home`. Files are those of the
/// host, whatever the namespace.
fn sources<'a>(tls: &'a ServerTls, home: &'a str) -> Vec<&'a str> {
    use crate::model::CertificateSource::{Files, Secret};
    let names = tls.certificates.iter().flat_map(|it| match &it.source {
        Secret { name, namespace } => vec![namespace.as_deref().unwrap_or(home), name.as_str()],
        Files {
            certificate,
            private_key,
        } => vec![certificate.as_str(), private_key.as_str()],
    });
    names.collect()
}

/// Reports ports that no Service passes to the pods of the gateway, if its pods are declared.
pub(super) fn ports_behind_services(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    gateway: &Gateway,
) {
    let pods = index.selected_anywhere(&gateway.selector);
    let mut open = Vec::new();
    for (workload, template) in &pods {
        for ((namespace, _), (_, service)) in &index.services {
            let is_before = *namespace == workload.metadata.namespace
                && !service.selector.is_empty()
                && is_part(&service.selector, &template.labels);
            if !is_before {
                continue;
            }
            for port in &service.ports {
                open.push(port.port);
                if let PortReference::Number(number) = port.target_port {
                    open.push(number);
                }
            }
        }
    }
    if open.is_empty() {
        return;
    }
    for (at, server) in gateway.servers.iter().enumerate() {
        if !open.contains(&server.port.value) {
            let message = format!(
                "no Service before the pods of this gateway has port {}; add it there",
                server.port
            );
            let path = format!("spec.servers[{at}].port.number");
            let code = codes::GATEWAY_PORT_NOT_IN_SERVICE;
            report.warning(object, &server.port.at, path, code, message);
        }
    }
}
