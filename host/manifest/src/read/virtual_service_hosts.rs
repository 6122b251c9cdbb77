//! The hosts of a VirtualService, and what depends on them.

use crate::WithPosition;
use crate::codes;
use crate::decode::{Decoder, Fields, steps};
use crate::model::HttpRoute;
use crate::yaml::{Mark, Node, Value};

/// Reports hosts that an earlier or later host of the same object covers.
pub(super) fn check_overlaps(d: &mut Decoder, hosts: &[WithPosition<String>]) {
    for (index, host) in hosts.iter().enumerate() {
        let Some(other) = hosts[..index].iter().find(|it| overlap(it, host)) else {
            continue;
        };
        let message = if other.eq_ignore_ascii_case(host) {
            format!("`{host}` is listed twice; remove one")
        } else {
            format!("`{host}` and `{other}` overlap; keep one, or use two VirtualServices")
        };
        let mark = Mark::from(&host.at);
        d.within(steps!["hosts", index], |d| {
            d.error(mark, codes::INVALID_VALUE, message);
        });
    }
}

/// Whether a name exists that both match.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (None, None) => one == other,
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
    }
}

/// A VirtualService without hosts is a delegate: only HTTP rules, and no further delegate.
pub(super) fn check_delegate(spec: &mut Fields<'_, '_>, http: &[HttpRoute]) {
    for other in ["tls", "tcp"] {
        if has_entries(spec.get(other)) {
            let message = "a VirtualService without hosts is a delegate, which has only http rules";
            spec.error_at(other, codes::EXCLUSIVE_FIELDS, message.to_owned());
        }
    }
    for (index, rule) in http.iter().enumerate() {
        if let Some(delegate) = &rule.delegate {
            let mark = Mark::from(&delegate.name.at);
            spec.d.within(steps!["http", index, "delegate"], |d| {
                let message = "a VirtualService without hosts is a delegate, and cannot delegate \
                               again";
                d.error(mark, codes::EXCLUSIVE_FIELDS, message);
            });
        }
    }
}

/// Reports a VirtualService without rules. One of the first API is accepted, as nothing: it may be
/// an excerpt of a longer one.
pub(super) fn check_has_rules(spec: &mut Fields<'_, '_>) {
    let lists = ["http", "tls", "tcp"];
    if lists.iter().any(|field| has_entries(spec.get(field))) {
        return;
    }
    let mark = spec.mark;
    let is_excerpt = !lists.iter().any(|field| spec.has(field));
    if is_excerpt && spec.d.api_version().ends_with("/v1alpha3") {
        let message = "without rules, this has no effect, and a cluster refuses it; add http";
        spec.d.warning(mark, codes::MISSING_FIELD, message);
    } else {
        let message = "a VirtualService needs at least one rule in http, tls or tcp";
        spec.d.error(mark, codes::MISSING_FIELD, message);
    }
}

/// In the mesh, one object must not have the rules of all hosts.
pub(super) fn check_all_hosts(d: &mut Decoder, hosts: &[WithPosition<String>]) {
    let Some(index) = hosts.iter().position(|host| host.as_str() == "*") else {
        return;
    };
    let mark = Mark::from(&hosts[index].at);
    d.within(steps!["hosts", index], |d| {
        let message = "`*` is only possible at gateways; list them in `gateways`, without `mesh`, \
                       or name the hosts";
        d.error(mark, codes::INVALID_VALUE, message);
    });
}

/// Claims of tokens are known where tokens are verified before the route is chosen, which
/// is at gateways.
pub(super) fn check_claims(spec: &mut Fields<'_, '_>, http: &[HttpRoute]) {
    for (rule_at, rule) in http.iter().enumerate() {
        for (match_at, condition) in rule.matches.iter().enumerate() {
            let mut names = condition.headers.iter().chain(&condition.without_headers);
            let Some((name, _)) = names.find(|(name, _)| name.starts_with('@')) else {
                continue;
            };
            let message = format!(
                "`{name}` is only possible at gateways; list them in `gateways`, without `mesh`"
            );
            let mark = Mark::from(&condition.at);
            spec.d
                .within(steps!["http", rule_at, "match", match_at], |d| {
                    d.error(mark, codes::INVALID_VALUE, message);
                });
        }
    }
}

fn has_entries(list: Option<&Node>) -> bool {
    matches!(list.map(|node| &node.value), Some(Value::Sequence(items)) if !items.is_empty())
}
