//! The conditions of a VirtualService's rule.

use super::virtual_service::gateway_name;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, dns_label, full_match, header_name, labels, map, non_empty, port,
    string,
};
use crate::model::{HttpMatch, StringMatch, claim_path};
use crate::yaml::{Node, Value};

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<HttpMatch> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.optional("name", non_empty);
    let uri = fields.optional("uri", uri_match);
    let ignore_uri_case = fields.optional("ignoreUriCase", boolean).unwrap_or(false);
    if ignore_uri_case && matches!(uri, Some(StringMatch::Regex { .. })) {
        let message = "has no effect on a regex; write `(?i)` at its beginning".to_owned();
        fields.warn_at("ignoreUriCase", codes::NOT_HONOURED, message);
    }
    let scheme = fields.optional("scheme", string_match);
    let method = fields.optional("method", string_match);
    let authority = fields.optional("authority", string_match);
    let headers = fields
        .optional("headers", header_matches)
        .unwrap_or_default();
    let without_headers = fields
        .optional("withoutHeaders", header_matches)
        .unwrap_or_default();
    let query_params = fields
        .optional("queryParams", |d, node| {
            let matches = map(d, node, |d, _, value| present_or_match(d, value))?;
            Some(matches.into_iter().collect::<Vec<_>>())
        })
        .unwrap_or_default();
    let port = fields.optional("port", port);
    let source_labels = fields.optional("sourceLabels", labels).unwrap_or_default();
    let source_namespace = fields.optional("sourceNamespace", dns_label);
    let gateways = fields.list("gateways", gateway_name);
    fields.finish(&["statPrefix"]);
    let failed = ["uri", "scheme", "method", "authority"]
        .iter()
        .any(|field| {
            node.get(field).is_some_and(|value| !value.is_null())
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

fn uri_match(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let matched = string_match(d, node)?;
    if let StringMatch::Exact(path) | StringMatch::Prefix(path) = &matched
        && !path.starts_with('/')
    {
        let shown = d.show(path);
        let message = format!("{shown} can never match: a path begins with `/`");
        d.warning(node.mark, codes::INEFFECTIVE_MATCH, message);
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
            .optional("regex", full_match)
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

/// As [`string_match`], but `{}` and `regex: "*"` match any value.
fn present_or_match(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let is_empty = matches!(&node.value, Value::Mapping(entries) if entries.is_empty());
    let is_star = node.get("regex").and_then(Node::as_text) == Some("*");
    if is_empty || is_star || node.is_null() {
        return Some(StringMatch::Present);
    }
    string_match(d, node)
}

fn header_matches(d: &mut Decoder, node: &Node) -> Option<Vec<(String, StringMatch)>> {
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
            header_name(d, name, value, true)
        };
        let matched = present_or_match(d, value);
        Some((lower?, matched?))
    })?;
    Some(matches.into_values().collect())
}
