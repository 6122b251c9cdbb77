//! One rule of a VirtualService's `tls` list.

use super::destination;
use super::http_route::check_weights;
use super::virtual_service::gateway_name;
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, dns_name, items, labels, network, optional_port, steps, string,
};
use crate::model::{TlsMatch, TlsRoute};
use crate::yaml::{Mark, Node};

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<TlsRoute> {
    let mut fields = Fields::of(d, node)?;
    let matches = fields.required_list("match", tls_match);
    let route = fields.required_list("route", destination::connection_route);
    check_weights(&mut fields, node, route.as_deref().unwrap_or_default());
    fields.finish(&[]);
    Some(TlsRoute {
        at: d.position(node.mark),
        matches: matches?,
        route: route?,
    })
}

fn tls_match(d: &mut Decoder, node: &Node) -> Option<TlsMatch> {
    let mut fields = Fields::of(d, node)?;
    let sni_hosts = fields.required_list("sniHosts", dns_name);
    let (port, gateways) = connection_match(&mut fields);
    fields.finish(&[]);
    Some(TlsMatch {
        at: d.position(node.mark),
        sni_hosts: sni_hosts?,
        port,
        gateways,
    })
}

/// The conditions of `tls` and `tcp` rules: the port and the gateways, and those that have no
/// effect at gateways, in Istio either.
pub(super) fn connection_match(
    fields: &mut Fields<'_, '_>,
) -> (Option<u16>, Vec<WithPosition<String>>) {
    fields.without_effect("destinationSubnets", |d, node| items(d, node, network));
    fields.without_effect("sourceLabels", labels);
    fields.without_effect("sourceNamespace", string);
    let port = optional_port(fields, "port");
    (port, fields.list("gateways", gateway_name))
}

/// As in Istio, each name must be within the hosts of the VirtualService.
pub(super) fn check_hosts(d: &mut Decoder, tls: &[TlsRoute], hosts: &[WithPosition<String>]) {
    for (route_at, route) in tls.iter().enumerate() {
        for (match_at, condition) in route.matches.iter().enumerate() {
            for (at, name) in condition.sni_hosts.iter().enumerate() {
                if hosts.iter().any(|host| covers(host, name)) {
                    continue;
                }
                let shown = d.show(name);
                let message =
                    format!("{shown} is not within the hosts of this VirtualService; add it there");
                let mark = Mark::from(&name.at);
                d.within(
                    steps!["tls", route_at, "match", match_at, "sniHosts", at],
                    |d| d.error(mark, codes::INVALID_VALUE, message),
                );
            }
        }
    }
}

/// Whether `host` matches every name that `name` matches.
fn covers(host: &str, name: &str) -> bool {
    let (host, name) = (host.to_ascii_lowercase(), name.to_ascii_lowercase());
    match host.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix),
        None => host == name,
    }
}
