//! Header operations: set, add, remove, on requests and responses.

use crate::codes;
use crate::decode::{Decoder, Fields, header_name, items, map, non_empty, string};
use crate::model::{HeaderChanges, HeaderOperations, HeaderPart, Operator, header_parts};
use crate::yaml::Node;

#[derive(Clone, Copy)]
enum Side {
    Request,
    Response,
}

/// The field `headers`, and the older fields next to it.
pub(super) fn operations(fields: &mut Fields<'_, '_>, name: &'static str) -> HeaderOperations {
    let mut operations = fields.optional(name, read).unwrap_or_default();
    let mut old = |field: &'static str, successor: &str| {
        let present = fields.has(field);
        let side = match field {
            "appendResponseHeaders" => Side::Response,
            _ => Side::Request,
        };
        let value = fields.optional(field, |d, node| pairs(d, node, side));
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
    let mut side = |name, side| {
        fields
            .optional(name, |d, node| changes(d, node, side))
            .unwrap_or_default()
    };
    let request = side("request", Side::Request);
    let response = side("response", Side::Response);
    fields.finish(&[]);
    Some(HeaderOperations { request, response })
}

fn changes(d: &mut Decoder, node: &Node, side: Side) -> Option<HeaderChanges> {
    let mut fields = Fields::of(d, node)?;
    let mut pairs = |name| {
        fields
            .optional(name, |d, node| pairs(d, node, side))
            .unwrap_or_default()
    };
    let set = pairs("set");
    let add = pairs("add");
    let remove = fields.optional("remove", names).unwrap_or_default();
    fields.finish(&[]);
    Some(HeaderChanges {
        set,
        add,
        remove,
        is_literal: false,
    })
}

fn pairs(d: &mut Decoder, node: &Node, side: Side) -> Option<Vec<(String, String)>> {
    let pairs = map(d, node, |d, name, value| {
        let lower = header_name(d, name, value, true);
        let is_authority =
            name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
        match side {
            Side::Request if name.starts_with(':') && !is_authority => {
                let message = "of the pseudo headers only `:authority` can be changed";
                d.error(value.mark, codes::INVALID_VALUE, message);
            }
            Side::Response if name.starts_with(':') || is_authority => {
                let message = "a response has no such header that could be changed; remove it";
                d.error(value.mark, codes::INVALID_VALUE, message);
            }
            _ => {}
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
            let message = "`host` cannot be removed; leave it out";
            d.error(node.mark, codes::INVALID_VALUE, message);
        }
        header_name(d, &name, node, false)
    })
}
