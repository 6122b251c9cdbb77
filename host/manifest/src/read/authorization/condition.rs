//! Sources, operations and conditions: attributes with the values that match.

use super::attribute::{attribute_of, value};
use crate::codes;
use crate::decode::{Decoder, Fields, located_string, string};
use crate::model::{Attribute, AttributeMatch};
use crate::yaml::{Mark, Node, Value};

/// The fields of a source: that of the values, that of the values that must not match, and
/// what they look at.
const SOURCE: &[(&str, &str, Attribute)] = &[
    ("principals", "notPrincipals", Attribute::SourcePrincipal),
    (
        "requestPrincipals",
        "notRequestPrincipals",
        Attribute::RequestPrincipal,
    ),
    ("namespaces", "notNamespaces", Attribute::SourceNamespace),
    (
        "serviceAccounts",
        "notServiceAccounts",
        Attribute::SourceServiceAccount,
    ),
    (
        "trustDomains",
        "notTrustDomains",
        Attribute::SourceTrustDomain,
    ),
    ("ipBlocks", "notIpBlocks", Attribute::SourceIp),
    ("remoteIpBlocks", "notRemoteIpBlocks", Attribute::RemoteIp),
];

const OPERATION: &[(&str, &str, Attribute)] = &[
    ("hosts", "notHosts", Attribute::Host),
    ("ports", "notPorts", Attribute::DestinationPort),
    ("methods", "notMethods", Attribute::Method),
    ("paths", "notPaths", Attribute::Path),
];

pub(super) fn source(d: &mut Decoder, node: &Node) -> Option<Vec<AttributeMatch>> {
    let source = fields(d, node, SOURCE)?;
    check_trust_domains(d, node);
    let has = |attribute| source.iter().any(|it| it.attribute == attribute);
    let has_others = has(Attribute::SourcePrincipal) || has(Attribute::SourceNamespace);
    if has(Attribute::SourceServiceAccount) && has_others {
        let message = "`serviceAccounts` cannot be combined with `principals` or `namespaces`";
        d.error(node.mark, codes::EXCLUSIVE_FIELDS, message);
        return None;
    }
    Some(source)
}

/// The name of a trust domain is not a path.
fn check_trust_domains(d: &mut Decoder, node: &Node) {
    for name in ["trustDomains", "notTrustDomains"] {
        let Some(Value::Sequence(items)) = node.get(name).map(|it| &it.value) else {
            continue;
        };
        let is_path = |it: &&Node| it.as_text().is_some_and(|text| text.contains('/'));
        if let Some(item) = items.iter().find(is_path) {
            let message = "a trust domain has no `/`; write its name only, such as `cluster.local`";
            d.under(name, |d| d.error(item.mark, codes::INVALID_VALUE, message));
        }
    }
}

pub(super) fn operation(d: &mut Decoder, node: &Node) -> Option<Vec<AttributeMatch>> {
    fields(d, node, OPERATION)
}

fn fields(
    d: &mut Decoder,
    node: &Node,
    known: &[(&'static str, &'static str, Attribute)],
) -> Option<Vec<AttributeMatch>> {
    let mut fields = Fields::of(d, node)?;
    let mut found = Vec::new();
    let is_empty = matches!(&node.value, Value::Mapping(entries) if entries.is_empty());
    for (name, not_name, attribute) in known {
        let values = some_items(&mut fields, name, |d, node| value(d, node, attribute));
        let not_values = some_items(&mut fields, not_name, |d, node| value(d, node, attribute));
        if !values.is_empty() || !not_values.is_empty() {
            found.push(AttributeMatch {
                attribute: attribute.clone(),
                values,
                not_values,
            });
        }
    }
    let mark = fields.mark;
    fields.finish_strictly();
    if is_empty {
        let message = "an empty entry is not allowed, since it would match everything; leave out \
                       the whole list for that";
        d.error(mark, codes::MISSING_FIELD, message);
    }
    Some(found)
}

/// An entry of `when`.
pub(super) fn attribute_match(d: &mut Decoder, node: &Node) -> Option<AttributeMatch> {
    let mut condition = Fields::of(d, node)?;
    let key = condition.required("key", located_string);
    let attribute = key.and_then(|key| match attribute_of(&key) {
        Ok(attribute) => Some(attribute),
        Err(message) => {
            let mark = Mark::from(&key.at);
            let d = &mut condition.d;
            d.under("key", |d| d.error(mark, codes::INVALID_VALUE, message));
            None
        }
    });
    let read = |d: &mut Decoder, node: &Node| match &attribute {
        Some(attribute) => value(d, node, attribute),
        None => string(d, node),
    };
    let values = some_items(&mut condition, "values", read);
    let not_values = some_items(&mut condition, "notValues", read);
    if condition.get("values").is_none() && condition.get("notValues").is_none() {
        condition.missing("values");
    }
    condition.finish_strictly();
    Some(AttributeMatch {
        attribute: attribute?,
        values,
        not_values,
    })
}

/// The entries of the list `name`. An empty list is an error: it would mean the same as no
/// list, which matches everything.
pub(super) fn some_items<'n, T>(
    fields: &mut Fields<'_, 'n>,
    name: &'static str,
    read: impl FnMut(&mut Decoder, &'n Node) -> Option<T>,
) -> Vec<T> {
    let Some(node) = fields.get(name) else {
        // So that it is known, for misspellings of it.
        fields.take(name);
        return Vec::new();
    };
    if node.is_null() || matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
        fields.take(name);
        let message = format!("`{name}` must not be empty; leave it out to match everything");
        fields.error_at(name, codes::MISSING_FIELD, message);
        return Vec::new();
    }
    fields.list(name, read)
}
