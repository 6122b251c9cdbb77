//! Istio's VirtualService.

use super::{export_to, http_route, tcp_route, tls_route, virtual_service_hosts};
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, dns_name, ends_with_number, is_dns_label, is_dns_subdomain, items,
    located_string, steps,
};
use crate::model::{HttpRoute, Resource, VirtualService};
use crate::yaml::{Mark, Node};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let service = fields.required("spec", spec);
    fields.finish(&[]);
    service.map(Resource::VirtualService)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<VirtualService> {
    let mut spec = Fields::of(d, node)?;
    // A VirtualService without hosts is a delegate.
    let hosts = spec.list("hosts", dns_name);
    let gateways = spec.list("gateways", gateway_name);
    let export_to = export_to::of_configuration(&mut spec);
    let http = spec.list("http", http_route::read);
    let tls = spec.list("tls", tls_route::read);
    let tcp = spec.without_effect("tcp", |d, node| items(d, node, tcp_route::read));
    let is_for_mesh = gateways.iter().all(|gateway| gateway.as_str() == "mesh");
    if !tls.is_empty() && is_for_mesh {
        let message = "has no effect: guests connect by HTTP, and tls routes are for connections \
                       through gateways; list them in `gateways`";
        spec.warn_at("tls", codes::NOT_HONOURED, message.to_owned());
    }
    tls_route::check_hosts(spec.d, &tls, &hosts);
    virtual_service_hosts::check_has_rules(&mut spec);
    virtual_service_hosts::check_overlaps(spec.d, &hosts);
    if hosts.is_empty() {
        if !gateways.is_empty() {
            spec.missing("hosts");
        }
        virtual_service_hosts::check_delegate(&mut spec, &http);
    }
    let is_in_mesh = gateways.is_empty() || gateways.iter().any(|it| it.as_str() == "mesh");
    if !hosts.is_empty() && is_in_mesh {
        virtual_service_hosts::check_claims(&mut spec, &http);
        virtual_service_hosts::check_all_hosts(spec.d, &hosts);
    }
    // Without an invalid condition, a rule would match more than intended.
    if !spec.d.refused() {
        unreachable_rules(&mut spec, &http);
    }
    spec.finish(&[]);
    let at = d.position(node.mark);
    let gateways = if gateways.is_empty() {
        vec![WithPosition::new("mesh".to_owned(), at)]
    } else {
        gateways
    };
    Some(VirtualService {
        hosts,
        gateways,
        export_to,
        http,
        tls,
        tcp: tcp.unwrap_or_default(),
    })
}

/// `mesh`, `name` or `namespace/name`.
pub(super) fn gateway_name(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    let name = located_string(d, node)?;
    if let Some(own) = name.strip_prefix("./") {
        let message = format!("a cluster refuses `./` here; write `{own}` for the same Gateway");
        d.warning(node.mark, codes::INVALID_VALUE, message);
    }
    let name_here = name.strip_prefix("./").unwrap_or(&name);
    let valid = match name_here.split_once('/') {
        Some((namespace, name)) => is_dns_label(namespace) && is_dns_label(name),
        None => is_dns_subdomain(name_here) && !ends_with_number(name_here),
    };
    if valid {
        return Some(name);
    }
    let shown = d.show(&name);
    let message =
        format!("{shown} is not the name of a Gateway; write `mesh`, `name` or `namespace/name`");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

/// Reports rules that never match, since earlier ones match first.
fn unreachable_rules(spec: &mut Fields<'_, '_>, http: &[HttpRoute]) {
    for (index, earlier, whole) in super::shadowed::shadowed(http) {
        let at = &http[index].at;
        let mark = Mark::from(at);
        let place = match http[earlier].at.line {
            0 => format!("rule http[{earlier}]"),
            line => format!("rule http[{earlier}] on line {line}"),
        };
        let (code, message) = if whole {
            (
                codes::UNREACHABLE_RULE,
                format!(
                    "this rule can never match: {place} matches every request that it would; \
                         put the narrower rule first"
                ),
            )
        } else {
            (
                codes::INEFFECTIVE_MATCH,
                format!(
                    "a match of this rule has no effect: {place} matches every request \
                         that it would"
                ),
            )
        };
        spec.d
            .within(steps!["http", index], |d| d.warning(mark, code, message));
    }
}
