//! Header operations: set, add, remove, on requests and responses.

use crate::codes;
use crate::decode::{Decoder, Fields, header_name, items, map, non_empty, string};
use crate::model::{HeaderChanges, HeaderOperations, HeaderPart, Operator, header_parts};
use crate::yaml::Node;

/// The field `headers`, and the older fields next to it.
pub(super) fn operations(fields: &mut Fields<'_, '_>, name: &'static str) -> HeaderOperations {
    let mut operations = fields.optional(name, read).unwrap_or_default();
    let mut old = |field: &'static str, successor: &str| {
        let present = fields.has(field);
        let value = fields.optional(field, pairs);
        if present {
            fields.deprecated(field, successor);
        }
        value.unwrap_or_default()
    };
    operations
        .request
        .add
        .extend(old("appendHeaders", "headers.request.add"));
    operations
        .request
        .add
        .extend(old("appendRequestHeaders", "headers.request.add"));
    operations
        .response
        .add
        .extend(old("appendResponseHeaders", "headers.response.add"));
    for (field, successor) in [
        ("removeRequestHeaders", "headers.request.remove"),
        ("removeResponseHeaders", "headers.response.remove"),
    ] {
        let present = fields.has(field);
        let names = fields.optional(field, names).unwrap_or_default();
        if present {
            fields.deprecated(field, successor);
        }
        let side = if field == "removeRequestHeaders" {
            &mut operations.request
        } else {
            &mut operations.response
        };
        side.remove.extend(names);
    }
    operations
}

fn read(d: &mut Decoder, node: &Node) -> Option<HeaderOperations> {
    let mut fields = Fields::of(d, node)?;
    let request = fields.optional("request", changes).unwrap_or_default();
    let response = fields.optional("response", changes).unwrap_or_default();
    fields.finish(&[]);
    Some(HeaderOperations { request, response })
}

fn changes(d: &mut Decoder, node: &Node) -> Option<HeaderChanges> {
    let mut fields = Fields::of(d, node)?;
    let set = fields.optional("set", pairs).unwrap_or_default();
    let add = fields.optional("add", pairs).unwrap_or_default();
    let remove = fields.optional("remove", names).unwrap_or_default();
    fields.finish(&[]);
    Some(HeaderChanges {
        set,
        add,
        remove,
        is_literal: false,
    })
}

fn pairs(d: &mut Decoder, node: &Node) -> Option<Vec<(String, String)>> {
    let pairs = map(d, node, |d, name, value| {
        let lower = header_name(d, name, value, true);
        if name.starts_with(':') && !name.eq_ignore_ascii_case(":authority") {
            let message =
                "of the pseudo headers only `:authority` can be changed; this has no effect";
            d.warning(value.mark, codes::NOT_HONOURED, message);
        }
        let text = string(d, value)?;
        if text.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            d.error(
                value.mark,
                codes::INVALID_VALUE,
                "a header's value must be one line of text",
            );
            return None;
        }
        check_substitutions(d, value, &text)?;
        Some((lower?, text))
    })?;
    Some(pairs.into_values().collect())
}

/// Reports what Envoy would refuse, and substitutions without a value. `None` is the former.
fn check_substitutions(d: &mut Decoder, node: &Node, text: &str) -> Option<()> {
    let parts = match header_parts(text) {
        Ok(parts) => parts,
        Err(message) => {
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
    };
    let has_no_value = |part: &HeaderPart| {
        matches!(
            part,
            HeaderPart::Value {
                operator: Operator::NoValue,
                ..
            }
        )
    };
    if parts.iter().any(has_no_value) {
        let message = "one of its substitutions has no value in this host, and is left out";
        d.warning(node.mark, codes::NOT_HONOURED, message);
    }
    Some(())
}

fn names(d: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    items(d, node, |d, node| {
        let name = non_empty(d, node)?;
        if name.eq_ignore_ascii_case("host") {
            let message = "`host` cannot be removed; this has no effect";
            d.warning(node.mark, codes::NOT_HONOURED, message);
        }
        header_name(d, &name, node, false)
    })
}
