//! One rule of a VirtualService's `http` list.

use super::{destination, fault, headers, http_match, redirect, resilience};
use crate::codes;
use crate::decode::{
    Decoder, Fields, dns_label, dns_subdomain, located, non_empty, optional_timeout,
};
use crate::model::{Delegate, HeaderOperations, HttpRoute, Rewrite, RouteDestination};
use crate::yaml::{Node, Value};

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<HttpRoute> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", non_empty);
    let matches = fields.list("match", http_match::read);
    let route = fields.list("route", destination::route);
    let redirect = fields.optional("redirect", redirect::read);
    let direct_response = fields.optional("directResponse", redirect::direct_response);
    let delegate = fields.optional("delegate", delegate);
    let rewrite = fields.optional("rewrite", redirect::rewrite);
    let timeout = fields.optional("timeout", optional_timeout);
    let retries = fields.optional("retries", resilience::retries);
    let fault = fields.optional("fault", fault::read);
    let mirrors = destination::mirrors(&mut fields);
    let cors_policy = fields.optional("corsPolicy", resilience::cors);
    let headers = headers::operations(&mut fields, "headers");
    check_authority(&mut fields, rewrite.as_ref(), &headers);
    check_action(&mut fields);
    if redirect.as_ref().is_some_and(|it| it.prefix.is_some()) {
        check_prefixes(&mut fields, node);
    }
    check_weights(&mut fields, node, &route);
    fields.finish(&["statPrefix"]);
    Some(HttpRoute {
        at: d.position(node.mark),
        name,
        matches,
        route,
        redirect,
        direct_response,
        delegate,
        rewrite,
        timeout,
        retries,
        fault,
        mirrors,
        cors_policy,
        headers,
    })
}

/// A rule must have exactly one action.
fn check_action(fields: &mut Fields<'_, '_>) {
    let actions = ["route", "redirect", "directResponse", "delegate"];
    let set: Vec<&'static str> = actions
        .into_iter()
        .filter(|a| fields.has_entries(a))
        .collect();
    match set.as_slice() {
        [] => {
            let message = "a rule needs one of route, redirect, directResponse, delegate";
            let mark = fields.mark;
            fields.d.error(mark, codes::MISSING_FIELD, message);
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("`{first}` and `{second}` are mutually exclusive; keep one");
            fields.error_at(second, codes::EXCLUSIVE_FIELDS, message);
        }
    }
    // Envoy has no place for these in a redirect or a direct response.
    if let ["redirect" | "directResponse"] = set.as_slice() {
        for never in ["fault", "rewrite"] {
            if fields.has(never) {
                let message = format!(
                    "`{never}` and `{}` are mutually exclusive; keep one",
                    set[0]
                );
                fields.error_at(never, codes::EXCLUSIVE_FIELDS, message);
            }
        }
    }
    let forwards = fields.has_entries("route") || fields.has("delegate");
    for only_routed in ["timeout", "retries", "mirror", "mirrors"] {
        if !forwards && !set.is_empty() && fields.has(only_routed) {
            let message = format!("has no effect together with `{}`", set[0]);
            fields.warn_at(only_routed, codes::EXCLUSIVE_FIELDS, message);
        }
    }
}

/// A prefix can only be replaced where a prefix was matched, and `uri: {}` matches none.
fn check_prefixes(fields: &mut Fields<'_, '_>, node: &Node) {
    let matches = match node.get("match").map(|list| &list.value) {
        Some(Value::Sequence(items)) => items.as_slice(),
        _ => &[],
    };
    let uris = matches.iter().filter_map(|it| it.get("uri"));
    let mut uris = uris.filter(|uri| !uri.is_null());
    if uris.any(|uri| uri.get("prefix").is_none_or(Node::is_null)) {
        let message = "`prefixRewrite` needs a prefix in every match of the uri".to_owned();
        fields.error_at("redirect", codes::INVALID_VALUE, message);
    }
}

/// The authority can only be set in one place.
fn check_authority(
    fields: &mut Fields<'_, '_>,
    rewrite: Option<&Rewrite>,
    headers: &HeaderOperations,
) {
    let request = &headers.request;
    let names = request.set.iter().chain(&request.add);
    let in_headers = names.filter(|(name, _)| matches!(name.as_str(), ":authority" | "host"));
    let rewritten = rewrite.is_some_and(|it| it.authority.is_some());
    if in_headers.count() + usize::from(rewritten) > 1 {
        let message = if rewritten {
            "the authority is set by `headers` and by `rewrite.authority`; keep the rewrite"
        } else {
            "the authority is set twice; keep one of `:authority` and `host`"
        };
        fields.error_at("headers", codes::EXCLUSIVE_FIELDS, message.to_owned());
    }
}

pub(super) fn check_weights(fields: &mut Fields<'_, '_>, node: &Node, route: &[RouteDestination]) {
    let listed = match node.get("route").map(|list| &list.value) {
        Some(Value::Sequence(items)) => items.len(),
        _ => 0,
    };
    let others = ["redirect", "directResponse", "delegate"];
    let is_only_action = !others.iter().any(|action| fields.has(action));
    if fields.has("route") && listed == 0 && is_only_action {
        let message = "a route needs at least one destination".to_owned();
        fields.error_at("route", codes::MISSING_FIELD, message);
    }
    // An invalid destination is already reported; its weight is unknown.
    if route.len() < 2 || route.len() != listed {
        return;
    }
    let sum: u32 = route
        .iter()
        .map(|r| r.weight.as_ref().map_or(0, |w| w.value))
        .sum();
    if sum == 0 {
        let message =
            "the weights sum to 0, so no destination gets a request; give each a `weight`";
        fields.error_at("route", codes::INVALID_VALUE, message.to_owned());
        return;
    }
    if sum != 100 {
        let shares: Vec<String> = route
            .iter()
            .map(|r| r.weight.as_ref().map_or(0, |w| w.value))
            .map(|weight| format!("{weight}/{sum}"))
            .collect();
        let message = format!(
            "the weights sum to {sum}, not to 100; they are used as shares: {}",
            shares.join(", ")
        );
        fields.warn_at("route", codes::WEIGHTS, message);
    }
}

fn delegate(d: &mut Decoder, node: &Node) -> Option<Delegate> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located(dns_subdomain));
    let namespace = fields.optional("namespace", dns_label);
    fields.finish(&[]);
    Some(Delegate {
        name: name?,
        namespace,
    })
}
