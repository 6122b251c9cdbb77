//! The conditions of a VirtualService's rule.

use regex::Regex;

use super::virtual_service::gateway_name;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, full_match, header_name, label_of_any_case, labels, map, non_empty,
    optional_port, string,
};
use crate::model::{HttpMatch, StringMatch, claim_path};
use crate::yaml::{Node, Value};

/// Istio's limit for a regular expression.
const REGEX_LENGTH_MAX: usize = 1024;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<HttpMatch> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", non_empty);
    let uri = fields
        .optional("uri", |d, node| any_or(d, node, uri_match))
        .flatten();
    let ignore_uri_case = fields.optional("ignoreUriCase", boolean).unwrap_or(false);
    if ignore_uri_case && matches!(uri, Some(StringMatch::Regex { .. })) {
        let message = "has no effect on a regex; write `(?i)` at its beginning".to_owned();
        fields.warn_at("ignoreUriCase", codes::NOT_HONOURED, message);
    }
    let mut text = |name| {
        let read = fields.optional(name, |d, node| any_or(d, node, value_match));
        read.flatten()
    };
    let (scheme, method, authority) = (text("scheme"), text("method"), text("authority"));
    let headers = fields
        .optional("headers", |d, node| header_matches(d, node, true))
        .unwrap_or_default();
    let without_headers = fields
        .optional("withoutHeaders", |d, node| header_matches(d, node, false))
        .unwrap_or_default();
    let query_params = fields
        .optional("queryParams", |d, node| {
            let matches = map(d, node, |d, _, value| present_or_match(d, value, true))?;
            Some(matches.into_iter().collect::<Vec<_>>())
        })
        .unwrap_or_default();
    let port = optional_port(&mut fields, "port");
    let source_labels = fields.optional("sourceLabels", labels).unwrap_or_default();
    let source_namespace = fields.optional("sourceNamespace", label_of_any_case);
    let gateways = fields.list("gateways", gateway_name);
    fields.without_effect("statPrefix", string);
    fields.finish(&[]);
    let failed = ["uri", "scheme", "method", "authority"]
        .iter()
        .any(|field| {
            node.get(field)
                .is_some_and(|it| !it.is_null() && !is_empty(it))
                && match *field {
                    "uri" => uri.is_none(),
                    "scheme" => scheme.is_none(),
                    "method" => method.is_none(),
                    _ => authority.is_none(),
                }
        });
    if failed {
        return None;
    }
    Some(HttpMatch {
        at: d.position(node.mark),
        name,
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        source_labels,
        source_namespace,
        gateways,
    })
}

/// No condition if there is none: `{}` matches every text.
#[expect(clippy::option_option, reason = "the outer is an error")]
fn any_or(
    d: &mut Decoder,
    node: &Node,
    read: fn(&mut Decoder, &Node) -> Option<StringMatch>,
) -> Option<Option<StringMatch>> {
    match is_empty(node) {
        true => Some(None),
        false => read(d, node).map(Some),
    }
}

fn is_empty(node: &Node) -> bool {
    matches!(&node.value, Value::Mapping(entries) if entries.is_empty())
}

/// A regular expression of the length that Istio allows.
fn short_regex(d: &mut Decoder, node: &Node) -> Option<(String, Regex)> {
    check_regex_length(d, node);
    full_match(d, node)
}

pub(super) fn check_regex_length(d: &mut Decoder, node: &Node) {
    if node
        .as_text()
        .is_some_and(|text| text.len() > REGEX_LENGTH_MAX)
    {
        let message = format!("is longer than {REGEX_LENGTH_MAX} bytes; use several matches");
        d.error(node.mark, codes::INVALID_VALUE, message);
    }
}

fn uri_match(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let matched = string_match(d, node)?;
    if let StringMatch::Exact(path) | StringMatch::Prefix(path) = &matched
        && !path.starts_with('/')
        && !(path.is_empty() && matches!(matched, StringMatch::Prefix(_)))
    {
        let shown = d.show(path);
        let message = format!("{shown} can never match: a path begins with `/`");
        d.warning(node.mark, codes::NEVER_APPLIES, message);
    }
    Some(matched)
}

/// `exact`, `prefix` or `regex`, exactly one of them.
pub(super) fn string_match(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    if let Value::Scalar(scalar) = &node.value
        && !node.is_null()
    {
        let found = d.describe(node);
        let text = &scalar.text;
        let message = format!(
            "expected exact, prefix or regex, found {found}; write `exact: {text}` below it"
        );
        d.error(node.mark, codes::WRONG_TYPE, message);
        return None;
    }
    let mut fields = Fields::of(d, node)?;
    let mut matches = Vec::new();
    matches.extend(fields.optional("exact", string).map(StringMatch::Exact));
    matches.extend(fields.optional("prefix", string).map(StringMatch::Prefix));
    matches.extend(
        fields
            .optional("regex", short_regex)
            .map(|(pattern, regex)| StringMatch::Regex { pattern, regex }),
    );
    let set = ["exact", "prefix", "regex"]
        .iter()
        .filter(|field| fields.has(field))
        .count();
    if set != 1 {
        let message = "needs exactly one of exact, prefix, regex";
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&[]);
    matches.pop()
}

/// Like [`string_match`], but an empty prefix is an error: it matches every text.
fn value_match(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let matched = string_match(d, node)?;
    if let StringMatch::Prefix(prefix) = &matched
        && prefix.is_empty()
    {
        let mark = node.get("prefix").map_or(node.mark, |it| it.mark);
        let message = "must not be empty: every text begins with it; leave the condition out, or \
                       write `{}` for a header or a parameter that is only present";
        d.under("prefix", |d| d.error(mark, codes::INVALID_VALUE, message));
        return None;
    }
    Some(matched)
}

/// As [`value_match`], but `{}` and `regex: "*"` match any value.
fn present_or_match(d: &mut Decoder, node: &Node, warn_of_star: bool) -> Option<StringMatch> {
    let is_star = node.get("regex").and_then(Node::as_text) == Some("*");
    if is_star && warn_of_star {
        let message = "a cluster refuses `*`, which is not a regular expression; here it means \
                       any value, for which `{}` is the other form";
        d.warning(node.mark, codes::INVALID_VALUE, message);
    }
    if is_empty(node) || is_star || node.is_null() {
        return Some(StringMatch::Present);
    }
    value_match(d, node)
}

/// In Envoy, the parts of a request that are not headers are read by these names.
const PSEUDO_HEADERS: &[&str] = &[":method", ":scheme", ":authority", ":path", ":status"];

/// The conditions of `headers`, or those of `withoutHeaders`.
fn header_matches(
    d: &mut Decoder,
    node: &Node,
    wanted: bool,
) -> Option<Vec<(String, StringMatch)>> {
    let matches = map(d, node, |d, name, value| {
        if matches!(name, "uri" | "scheme" | "method" | "authority") {
            let message = format!(
                "`{name}` is not a header and is ignored here; use the field `{name}` of the match"
            );
            d.warning(value.mark, codes::NOT_HONOURED, message);
            return None;
        }
        let claim = name.starts_with('@');
        if claim && claim_path(name).is_none() {
            let shown = d.show(name);
            let message = format!(
                "{shown} is not the key of a claim; write `@request.auth.claims.group`, or \
                 `@request.auth.claims[a][b]` for names with dots"
            );
            d.error(value.mark, codes::INVALID_VALUE, message);
            return None;
        }
        let lower = if claim {
            Some(name.to_owned())
        } else {
            header_name(d, name, value, PSEUDO_HEADERS.contains(&name))
        };
        if wanted && value.is_null() {
            let message = "needs a condition; write `{}` for a header with any value";
            d.error(value.mark, codes::MISSING_FIELD, message);
            return None;
        }
        let matched = present_or_match(d, value, wanted);
        Some((lower?, matched?))
    })?;
    Some(matches.into_values().collect())
}
