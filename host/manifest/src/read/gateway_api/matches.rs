//! The conditions of an HTTPRoute's rule.

use crate::Position;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, full_match, header_name, non_empty, string};
use crate::model::{HttpMatch, Labels, StringMatch};
use crate::yaml::Node;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Exact,
    PathPrefix,
    RegularExpression,
}

const VALUE_KINDS: &[(&str, Kind)] = &[
    ("Exact", Kind::Exact),
    ("RegularExpression", Kind::RegularExpression),
];

const PATH_KINDS: &[(&str, Kind)] = &[
    ("Exact", Kind::Exact),
    ("PathPrefix", Kind::PathPrefix),
    ("RegularExpression", Kind::RegularExpression),
];

/// The match of a rule without matches: every path.
pub(super) fn any(at: Position) -> HttpMatch {
    HttpMatch {
        at,
        name: None,
        uri: Some(StringMatch::PathPrefix(String::new())),
        ignore_uri_case: false,
        scheme: None,
        method: None,
        authority: None,
        headers: Vec::new(),
        without_headers: Vec::new(),
        query_params: Vec::new(),
        port: None,
        source_labels: Labels::new(),
        source_namespace: None,
        gateways: Vec::new(),
    }
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<HttpMatch> {
    let mut fields = Fields::of(d, node)?;
    let path = fields.optional("path", path);
    let path_failed = fields.has("path") && path.is_none();
    let method = fields.optional("method", method);
    let headers = fields.list("headers", |d, node| {
        value(d, node, |d, name, node| header_name(d, &name, node, false))
    });
    let query_params = fields.list("queryParams", |d, node| {
        value(d, node, |_, name, _| Some(name))
    });
    fields.finish(&[]);
    if path_failed {
        return None;
    }
    let mut read = any(d.position(node.mark));
    read.uri = path.or(read.uri);
    read.method = method;
    read.headers = first_of_each_name(headers);
    read.query_params = first_of_each_name(query_params);
    Some(read)
}

/// Of several entries with the same name, the first counts.
fn first_of_each_name(entries: Vec<(String, StringMatch)>) -> Vec<(String, StringMatch)> {
    let mut kept: Vec<(String, StringMatch)> = Vec::new();
    for entry in entries {
        if kept.iter().all(|(name, _)| *name != entry.0) {
            kept.push(entry);
        }
    }
    kept
}

fn path(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let mut fields = Fields::of(d, node)?;
    let kind = fields.optional("type", |d, node| {
        choice(d, node, "a path match", PATH_KINDS)
    });
    let kind = kind.unwrap_or(Kind::PathPrefix);
    let matched = if kind == Kind::RegularExpression {
        regex(&mut fields)
    } else {
        let path = fields.optional("value", string).unwrap_or("/".into());
        if !path.starts_with('/') || path.contains("//") {
            let message = "a path begins with `/` and has no `//`".to_owned();
            fields.error_at("value", codes::INVALID_VALUE, message);
            return None;
        }
        Some(match kind {
            Kind::Exact => StringMatch::Exact(path),
            _ => StringMatch::PathPrefix(path.trim_end_matches('/').to_owned()),
        })
    };
    fields.finish(&[]);
    matched
}

fn regex(fields: &mut Fields<'_, '_>) -> Option<StringMatch> {
    let (pattern, regex) = fields.required("value", full_match)?;
    Some(StringMatch::Regex { pattern, regex })
}

fn method(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let method = choice(d, node, "a method", &methods.map(|method| (method, method)))?;
    Some(StringMatch::Exact(method.to_owned()))
}

/// `type`, `name` and `value` of a header or query parameter.
fn value(
    d: &mut Decoder,
    node: &Node,
    check: impl FnOnce(&mut Decoder, String, &Node) -> Option<String>,
) -> Option<(String, StringMatch)> {
    let mut fields = Fields::of(d, node)?;
    let kind = fields.optional("type", |d, node| choice(d, node, "a match", VALUE_KINDS));
    let name = fields.required("name", |d, node| {
        let name = non_empty(d, node)?;
        check(d, name, node)
    });
    let matched = if kind == Some(Kind::RegularExpression) {
        regex(&mut fields)
    } else {
        fields.required("value", string).map(StringMatch::Exact)
    };
    fields.finish(&[]);
    Some((name?, matched?))
}
