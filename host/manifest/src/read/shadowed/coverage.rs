//! Whether one match takes every request that another would.

use crate::WithPosition;
use crate::model::{HttpMatch, Labels, StringMatch};

/// Whether each condition of `wide` follows from one of `narrow`. It may be false for matches
/// that cover each other in other ways: there is no reasoning about regular expressions.
pub(super) fn covers(wide: &HttpMatch, narrow: &HttpMatch) -> bool {
    let texts = [
        (wide.scheme.as_ref(), narrow.scheme.as_ref()),
        (wide.method.as_ref(), narrow.method.as_ref()),
        (wide.authority.as_ref(), narrow.authority.as_ref()),
    ];
    uri(wide, narrow)
        && texts
            .into_iter()
            .all(|(wide, narrow)| optional(wide, narrow))
        && named(&wide.headers, &narrow.headers, text)
        && named(&wide.without_headers, &narrow.without_headers, equal)
        && named(&wide.query_params, &narrow.query_params, text)
        && (wide.port.is_none() || wide.port == narrow.port)
        && (wide.source_namespace.is_none() || wide.source_namespace == narrow.source_namespace)
        && is_part(&wide.source_labels, &narrow.source_labels)
        && gateways(&wide.gateways, &narrow.gateways)
}

fn uri(wide: &HttpMatch, narrow: &HttpMatch) -> bool {
    match (wide.ignore_uri_case, narrow.ignore_uri_case) {
        (false, true) => wide.uri.is_none(),
        (false, false) => optional(wide.uri.as_ref(), narrow.uri.as_ref()),
        (true, _) => optional(
            wide.uri.as_ref().map(lower_case).as_ref(),
            narrow.uri.as_ref().map(lower_case).as_ref(),
        ),
    }
}

fn lower_case(text: &StringMatch) -> StringMatch {
    match text {
        StringMatch::Exact(text) => StringMatch::Exact(text.to_ascii_lowercase()),
        StringMatch::Prefix(text) => StringMatch::Prefix(text.to_ascii_lowercase()),
        other => other.clone(),
    }
}

fn optional(wide: Option<&StringMatch>, narrow: Option<&StringMatch>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => text(wide, narrow),
    }
}

/// Whether every text that `narrow` matches is one that `wide` matches.
fn text(wide: &StringMatch, narrow: &StringMatch) -> bool {
    use StringMatch::{Exact, Prefix, Present, Regex};
    match (wide, narrow) {
        (Present, _) => true,
        (Prefix(wide), Exact(narrow) | Prefix(narrow)) => narrow.starts_with(wide.as_str()),
        (Regex { regex, .. }, Exact(narrow)) => regex.is_match(narrow),
        _ => equal(wide, narrow),
    }
}

fn equal(one: &StringMatch, other: &StringMatch) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other) && one.pattern() == other.pattern()
}

fn named(
    wide: &[(String, StringMatch)],
    narrow: &[(String, StringMatch)],
    follows: impl Fn(&StringMatch, &StringMatch) -> bool,
) -> bool {
    wide.iter().all(|(name, wide)| {
        let mut same = narrow.iter().filter(|(other, _)| other == name);
        same.any(|(_, narrow)| follows(wide, narrow))
    })
}

fn is_part(labels: &Labels, of: &Labels) -> bool {
    labels.iter().all(|(key, value)| of.get(key) == Some(value))
}

/// No gateways means those of the VirtualService.
fn gateways(wide: &[WithPosition<String>], narrow: &[WithPosition<String>]) -> bool {
    wide.is_empty()
        || !narrow.is_empty()
            && narrow
                .iter()
                .all(|gateway| wide.iter().any(|it| it.value == gateway.value))
}
