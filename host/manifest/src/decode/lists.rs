//! Lists, and maps of strings.

use std::collections::BTreeMap;

use super::names::{is_label_value, is_qualified_name};
use super::{Decoder, string};
use crate::codes;
use crate::model::Labels;
use crate::yaml::{Node, Value};

/// Every entry of a list that is valid; the others are reported.
pub(crate) fn items<'n, T>(
    d: &mut Decoder,
    node: &'n Node,
    mut read: impl FnMut(&mut Decoder, &'n Node) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::Sequence(items) = &node.value else {
        let found = d.describe(node);
        let message = format!("expected a list, found {found}; begin each entry with `- `");
        d.error(node.mark, codes::WRONG_TYPE, message);
        return None;
    };
    let mut values = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        values.extend(d.at_index(index, |d| read(d, item)));
    }
    Some(values)
}

pub(crate) fn strings(d: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    items(d, node, string)
}

/// The values of a mapping by key, each read by `read`.
pub(crate) fn map<T>(
    d: &mut Decoder,
    node: &Node,
    mut read: impl FnMut(&mut Decoder, &str, &Node) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let Value::Mapping(entries) = &node.value else {
        let found = d.describe(node);
        d.error(
            node.mark,
            codes::WRONG_TYPE,
            format!("expected a mapping, found {found}"),
        );
        return None;
    };
    let mut map = BTreeMap::new();
    for entry in entries {
        let value = d.under(entry.key.clone(), |d| read(d, &entry.key, &entry.value));
        map.extend(value.map(|value| (entry.key.clone(), value)));
    }
    Some(map)
}

/// Labels, with Kubernetes' rules for keys and values.
pub(crate) fn labels(d: &mut Decoder, node: &Node) -> Option<Labels> {
    map(d, node, |d, key, value| {
        if !is_qualified_name(key) {
            let shown = d.show(key);
            let message = format!(
                "{shown} is not a label key; use [prefix/]name of letters, digits, `-`, `_`, `.`, at most 63"
            );
            d.error(value.mark, codes::INVALID_VALUE, message);
        }
        let text = string(d, value)?;
        if !is_label_value(&text) {
            let shown = d.show(&text);
            let message = format!(
                "{shown} is not a label value; use letters, digits, `-`, `_`, `.`, at most 63, \
                 beginning and ending with a letter or digit"
            );
            d.error(value.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(text)
    })
}
