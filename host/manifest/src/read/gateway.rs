//! Istio's Gateway.

use super::{gateway_topology, server_tls};
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, bind_address, choice, dns_name, is_partial_wildcard, labels, located,
    located_string, non_empty, port, steps, string,
};
use crate::model::{
    CertificateSource, Gateway, Protocol, Resource, Server, ServerCertificate, ServerTls, TlsMode,
};
use crate::unenforced::parts;
use crate::yaml::{Mark, Node};

pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("HTTP", Protocol::Http),
    ("HTTP2", Protocol::Http2),
    ("GRPC", Protocol::Grpc),
    ("GRPC-WEB", Protocol::Grpc),
    ("HTTPS", Protocol::Https),
    ("TCP", Protocol::Tcp),
    ("TLS", Protocol::Tls),
    ("MONGO", Protocol::Mongo),
    ("HTTP_PROXY", Protocol::Http),
    ("REDIS", Protocol::Tcp),
    ("MYSQL", Protocol::Tcp),
    ("UDP", Protocol::Tcp),
];

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let topology = gateway_topology::annotated(&mut fields);
    let gateway = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let selector = spec.optional("selector", labels).unwrap_or_default();
        let servers = spec.required_list("servers", server);
        check_port_names(spec.d, servers.as_deref().unwrap_or_default());
        spec.finish(&[]);
        Some(Gateway {
            selector,
            servers: servers?,
            topology,
        })
    });
    fields.finish(&[]);
    gateway.map(Resource::Gateway)
}

/// Istio identifies a port by its name, so that each server's is another.
fn check_port_names(d: &mut Decoder, servers: &[Server]) {
    for (index, server) in servers.iter().enumerate() {
        let name = &server.port_name;
        if servers[..index].iter().any(|it| it.port_name == *name) {
            let mark = Mark::from(&server.at);
            let message = format!(
                "`{name}` is the name of an earlier server's port too; give each server's port \
                 its own name"
            );
            d.within(steps!["servers", index, "port", "name"], |d| {
                d.error(mark, codes::INVALID_VALUE, message);
            });
        }
    }
}

fn server(d: &mut Decoder, node: &Node) -> Option<Server> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", non_empty);
    let port = fields.required("port", server_port);
    let hosts = fields.required_list("hosts", server_host);
    let tls = fields.optional("tls", server_tls::read);
    let tls_failed = fields.has("tls") && tls.is_none();
    if let Some((_, _, protocol)) = &port
        && !tls_failed
    {
        check_tls(&mut fields, *protocol, tls.as_ref());
    }
    if let Some(bind) = fields.get("bind").filter(|bind| !bind.is_null()) {
        fields.d.under("bind", |d| bind_address(d, bind));
    }
    fields.unenforced("bind", parts::GATEWAY_BIND);
    fields.without_effect("defaultEndpoint", string);
    fields.finish(&[]);
    let (port, port_name, protocol) = port?;
    Some(Server {
        at: d.position(node.mark),
        name,
        port,
        port_name,
        protocol,
        hosts: hosts?,
        tls,
    })
}

fn server_port(d: &mut Decoder, node: &Node) -> Option<(WithPosition<u16>, String, Protocol)> {
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("number", located(port));
    let name = fields.required("name", non_empty);
    let protocol = fields.required("protocol", protocol);
    if let Some(Protocol::Tcp | Protocol::Mongo) = protocol {
        let message = "this server is not served: the host speaks HTTP".to_owned();
        fields.warn_at("protocol", codes::NOT_HONOURED, message);
    }
    if fields.has("targetPort") {
        let message = "has no meaning for a Gateway; remove it".to_owned();
        fields.error_at("targetPort", codes::INVALID_VALUE, message);
        fields.ignore(&["targetPort"]);
    }
    fields.finish(&[]);
    Some((number?, name?, protocol?))
}

/// The name of a protocol. As in Istio, its case does not matter.
pub(super) fn protocol(d: &mut Decoder, node: &Node) -> Option<Protocol> {
    if let Some(text) = node.as_text()
        && let Some((_, protocol)) = PROTOCOLS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
    {
        return Some(*protocol);
    }
    choice(d, node, "a protocol", PROTOCOLS)
}

/// `[namespace/]dnsName`, where the namespace may be `*` or `.`.
fn server_host(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    let host = located_string(d, node)?;
    let name = host.split_once('/').map_or(host.as_str(), |(_, name)| name);
    let is_short = name != "*" && !name.contains('.');
    if is_partial_wildcard(name) || is_short && !name.is_empty() {
        let shown = d.show(&host);
        let message = format!(
            "{shown} is not a server's host; write a full name with dots, `*.example.com`, or `*`"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    let Some((namespace, name)) = host.split_once('/') else {
        return dns_name(d, node);
    };
    let namespace_valid = matches!(namespace, "*" | ".") || crate::decode::is_dns_label(namespace);
    let bare = name.strip_prefix("*.").unwrap_or(name).to_ascii_lowercase();
    if namespace_valid && (name == "*" || crate::decode::is_dns_subdomain(&bare)) {
        return Some(host);
    }
    let shown = d.show(&host);
    let message =
        format!("{shown} is not a server's host; write [namespace/]name, as in `*.example.com`");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn check_tls(fields: &mut Fields<'_, '_>, protocol: Protocol, tls: Option<&ServerTls>) {
    let secure = matches!(protocol, Protocol::Https | Protocol::Tls);
    let Some(tls) = tls else {
        if secure {
            fields.missing("tls");
        }
        return;
    };
    let only_redirects = tls.https_redirect && tls.mode == TlsMode::Passthrough;
    if !secure {
        let is_http = matches!(protocol, Protocol::Http | Protocol::Http2 | Protocol::Grpc);
        if !is_http || !only_redirects && tls.mode != TlsMode::Passthrough {
            let message = "a server of this protocol takes no certificate; use `protocol: HTTPS`, \
                           or leave only httpsRedirect"
                .to_owned();
            fields.error_at("tls", codes::EXCLUSIVE_FIELDS, message);
        }
        return;
    }
    if tls.mode == TlsMode::Passthrough {
        if !tls.certificates.is_empty() {
            let message = "has no certificate in mode PASSTHROUGH, which is the default: \
                           connections are not decrypted; set mode SIMPLE or MUTUAL";
            fields.warn_at("tls", codes::NOT_HONOURED, message.to_owned());
        }
        return;
    }
    if !tls.mode.terminates() {
        let mode = tls.mode.name();
        let message = format!(
            "mode {mode} is not supported by this host, so this server is not opened; use PASSTHROUGH with tls routes, or SIMPLE or MUTUAL with a certificate"
        );
        fields.warn_at("tls", codes::TLS_NOT_SERVED, message);
        return;
    }
    if protocol == Protocol::Tls {
        let message = "the host speaks HTTP, so this server is not opened; use `protocol: HTTPS`";
        fields.warn_at("tls", codes::TLS_NOT_SERVED, message.to_owned());
    }
    if tls.mode == TlsMode::IstioMutual {
        return;
    }
    if tls.certificates.is_empty() {
        let message =
            "needs a certificate: set credentialName to a Secret of type kubernetes.io/tls";
        fields.error_at("tls", codes::MISSING_FIELD, message.to_owned());
        return;
    }
    let is_file = |it: &ServerCertificate| matches!(it.source, CertificateSource::Files { .. });
    let no_authority = tls.client.ca_certificates.is_none() && tls.client.ca_credential.is_none();
    if tls.mode.verifies_clients() && no_authority && tls.certificates.iter().any(is_file) {
        let mode = tls.mode.name();
        let message = format!("mode {mode} needs the authorities of clients: set caCertificates");
        fields.error_at("tls", codes::MISSING_FIELD, message);
    }
}
