//! `tls` of VirtualServices, for the servers of Gateways that do not decrypt.
//!
//! As in Istio, the names of a rule count, not the hosts of its VirtualService, and a server
//! without a rule has no connections.

use std::sync::Arc;

use galleria_manifest::model::{Gateway, Server, TlsMatch, TlsMode, TlsRoute};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::delegate::{BoundVirtualService, gateway_name};
use super::edge::{EdgeCompiler, intersection, split_host};
use super::export::View;
use super::inventory::Source;
use crate::decide::host::canonical;
use crate::decide::listener::Listener;
use crate::decide::tls_route::TlsRule;

/// Whether the servers of the listener do not decrypt.
pub(super) fn is_passed_through(listener: &Listener) -> bool {
    let mut servers = listener.servers.iter();
    listener.is_secure()
        && servers.all(|server| {
            let tls = server.tls.as_ref();
            tls.is_some_and(|tls| tls.settings.mode == TlsMode::Passthrough)
        })
}

/// Reports a server that has no rule.
pub(super) fn without_rule(
    source: &Source<'_, Gateway>,
    listener: &Listener,
) -> Option<Diagnostic> {
    let server = listener.servers.first()?;
    let tls = server.tls.as_ref()?;
    Some(Diagnostic {
        at: server.at.clone(),
        severity: Severity::Warning,
        object: Some(format!("{}/{}", server.gateway.kind, source.name())),
        path: tls.path.clone(),
        message: "no rule passes connections of this server on, so it is not opened; bind a \
                  VirtualService with `tls` rules to it"
            .to_owned(),
        code: codes::TLS_NOT_SERVED,
        unenforced: None,
    })
}

impl EdgeCompiler<'_, '_> {
    /// The rules for connections of `server`, by the names that clients request.
    pub(super) fn tls_rules(
        &mut self,
        number: usize,
        source: &Source<'_, Gateway>,
        server: &Server,
    ) -> Vec<(String, Arc<TlsRule>)> {
        let Some(gateway) = self.gateway_names.get(number) else {
            return Vec::new();
        };
        let mut rules = Vec::new();
        for bound in self.bound {
            if !serves(source, server, bound) || !self.is_visible(bound, source.namespace()) {
                continue;
            }
            for route in bound.tls.iter() {
                let fits = |it: &&TlsMatch| is_for(it, bound, gateway, server.port.value);
                let names: Vec<_> = route.matches.iter().filter(fits).collect();
                if names.is_empty() {
                    continue;
                }
                let rule = Arc::new(self.tls_rule(route, bound, source));
                let names = names.iter().flat_map(|it| &it.sni_hosts);
                rules.extend(names.map(|name| (canonical(name).into_owned(), rule.clone())));
            }
        }
        rules
    }

    fn tls_rule(
        &mut self,
        route: &TlsRoute,
        bound: &BoundVirtualService<'_>,
        source: &Source<'_, Gateway>,
    ) -> TlsRule {
        let visible = View::Namespace(source.namespace());
        let destinations = route.route.iter().map(|it| {
            let namespace = bound.object.namespace.as_str();
            let choice =
                self.clusters
                    .destination(&it.destination, namespace, visible, View::Others);
            let weight = it.weight.as_ref().map_or(0, |weight| weight.value);
            (weight, choice)
        });
        TlsRule {
            destinations: destinations.collect(),
        }
    }
}

/// Whether a host of the VirtualService is one of the server's.
fn serves(source: &Source<'_, Gateway>, server: &Server, bound: &BoundVirtualService<'_>) -> bool {
    server.hosts.iter().any(|entry| {
        let (namespace, name) = split_host(entry, source.namespace());
        let mut hosts = bound.hosts.iter();
        namespace.is_none_or(|namespace| namespace == bound.object.namespace)
            && hosts.any(|host| intersection(&name, host).is_some())
    })
}

fn is_for(condition: &TlsMatch, bound: &BoundVirtualService<'_>, gateway: &str, port: u16) -> bool {
    let namespace = bound.object.namespace.as_str();
    let is_gateway = match condition.gateways.as_slice() {
        [] => bound.gateways.iter().any(|name| name == gateway),
        own => own
            .iter()
            .any(|name| gateway_name(name, namespace) == gateway),
    };
    is_gateway && condition.port.is_none_or(|only| only == port)
}
