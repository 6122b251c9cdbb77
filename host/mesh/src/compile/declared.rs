//! Which servers a port has, if several Gateways and Ingresses declare it.
//!
//! As in Istio, the first server decides the protocol of a port, and on a port with TLS a host
//! belongs to the first server that names it. A later server that does not fit is not opened:
//! its routes would otherwise be reachable without its TLS settings.

use std::collections::BTreeMap;

use galleria_manifest::model::Protocol;
use galleria_manifest::{Diagnostic, Severity, codes};

use crate::decide::listener::{Listener, ListenerServer};

/// Whether a server is part of its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    Yes,
    /// Another server of the port has one of its hosts.
    HostInUse,
    /// The port has another protocol.
    PortInUse,
}

/// What connections of a port carry first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Http,
    Tls,
    Bytes,
}

/// Adds the servers of `listener` to those of its port.
pub(crate) fn declare(
    listeners: &mut BTreeMap<u16, Listener>,
    listener: Listener,
    diagnostics: &mut Vec<Diagnostic>,
) -> Declared {
    let Some(known) = listeners.get_mut(&listener.port) else {
        listeners.insert(listener.port, listener);
        return Declared::Yes;
    };
    let refused = refuse(known, &listener);
    if let Some((declared, message)) = refused {
        let servers = listener.servers.iter();
        diagnostics.extend(servers.zip(message).map(|(server, message)| {
            Diagnostic {
                at: server.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("{}/{}", server.gateway.kind, server.gateway.name)),
                path: server
                    .tls
                    .as_ref()
                    .map_or_else(String::new, |tls| tls.path.clone()),
                message,
                code: codes::CONFLICTING_GATEWAYS,
                unenforced: None,
            }
        }));
        return declared;
    }
    known.https_redirect &= listener.https_redirect;
    for gateway in listener.gateways {
        if !known.gateways.contains(&gateway) {
            known.gateways.push(gateway);
        }
    }
    known.servers.extend(listener.servers);
    Declared::Yes
}

/// Why the servers of `listener` do not fit, with a message unless another part of the checks
/// has one.
fn refuse(known: &Listener, listener: &Listener) -> Option<(Declared, Option<String>)> {
    let port = known.port;
    let owner = known.gateways.first().map_or("", String::as_str);
    if carries(known.protocol) != carries(listener.protocol) {
        let message = format!(
            "port {port} already has the protocol {} by {owner}, so this server is not opened; \
             use another port",
            name(known.protocol)
        );
        return Some((Declared::PortInUse, Some(message)));
    }
    if !known.is_secure() {
        return None;
    }
    let server = listener.servers.first()?;
    let claims = |it: &&ListenerServer| it.hosts.iter().any(|host| server.hosts.contains(host));
    let first = known.servers.iter().find(claims)?;
    // The check of references reports two Gateways of Istio.
    let is_istio = |it: &ListenerServer| {
        let tls = it.tls.as_ref();
        tls.is_some_and(|tls| tls.path.starts_with("spec.servers"))
    };
    let is_told = is_istio(first) && is_istio(server) || has_same_secret(first, server);
    let message = (!is_told).then(|| {
        let owner = first.gateway.qualified_name();
        format!("port {port} of one of its hosts belongs to {owner}, so this server is not opened")
    });
    Some((Declared::HostInUse, message))
}

/// Several Ingresses commonly share the certificate of a host.
fn has_same_secret(one: &ListenerServer, other: &ListenerServer) -> bool {
    let ingress = |it: &ListenerServer| {
        let tls = it.tls.as_ref().filter(|_| it.gateway.kind == "Ingress")?;
        Some((
            tls.namespace.clone(),
            tls.settings.secret_name()?.to_owned(),
        ))
    };
    ingress(one).is_some_and(|secret| ingress(other) == Some(secret))
}

fn carries(protocol: Protocol) -> Carries {
    match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc => Carries::Http,
        Protocol::Https | Protocol::Tls => Carries::Tls,
        Protocol::Tcp | Protocol::Mongo => Carries::Bytes,
    }
}

fn name(protocol: Protocol) -> &'static str {
    match carries(protocol) {
        Carries::Http => "HTTP",
        Carries::Tls => "HTTPS",
        Carries::Bytes => "TCP",
    }
}
