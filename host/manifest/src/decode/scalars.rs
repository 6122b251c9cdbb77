//! Strings, booleans and enumerations.

use super::{Decoder, did_you_mean};
use crate::yaml::{Node, ResolvedScalar, Value};
use crate::{WithPosition, codes};

/// Any string. As in a cluster, a plain `80` or `true` is not a string.
pub(crate) fn string(d: &mut Decoder, node: &Node) -> Option<String> {
    string_ref(d, node).map(str::to_owned)
}

fn string_ref<'n>(d: &mut Decoder, node: &'n Node) -> Option<&'n str> {
    if let Value::Scalar(scalar) = &node.value {
        if scalar.resolve() == ResolvedScalar::Text {
            if scalar.old_boolean().is_some() {
                let shown = d.show(&scalar.text);
                d.warning(
                    node.mark,
                    codes::AMBIGUOUS_SCALAR,
                    format!(
                        "a cluster reads {shown} without quotes as a boolean; put it in quotes"
                    ),
                );
            }
            return Some(&scalar.text);
        }
        if scalar.resolve() != ResolvedScalar::Null {
            let found = d.describe(node);
            let message = format!("expected a string, found {found}; put it in quotes");
            d.error(node.mark, codes::WRONG_TYPE, message);
            return None;
        }
    }
    let found = d.describe(node);
    d.error(
        node.mark,
        codes::WRONG_TYPE,
        format!("expected a string, found {found}"),
    );
    None
}

pub(crate) fn non_empty(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = string(d, node)?;
    if text.is_empty() {
        d.error(node.mark, codes::INVALID_VALUE, "must not be empty");
        return None;
    }
    Some(text)
}

pub(crate) fn located_string(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    non_empty(d, node).map(|text| d.locate(text, node))
}

/// As [`located_string`], but may be empty.
pub(crate) fn located_text(d: &mut Decoder, node: &Node) -> Option<WithPosition<String>> {
    string(d, node).map(|text| d.locate(text, node))
}

/// The value that `read` returns, with its position.
pub(crate) fn located<T>(
    read: impl FnOnce(&mut Decoder, &Node) -> Option<T>,
) -> impl FnOnce(&mut Decoder, &Node) -> Option<WithPosition<T>> {
    move |d, node| read(d, node).map(|value| d.locate(value, node))
}

pub(crate) fn boolean(d: &mut Decoder, node: &Node) -> Option<bool> {
    let found = match &node.value {
        Value::Scalar(scalar) => match scalar.resolve() {
            ResolvedScalar::Bool(value) => return Some(value),
            _ if let Some(value) = scalar.old_boolean() => {
                let shown = d.show(&scalar.text);
                let message = format!("{shown} is a string in YAML 1.2; write `{value}`");
                d.error(node.mark, codes::WRONG_TYPE, message);
                return None;
            }
            ResolvedScalar::Text if matches!(scalar.text.as_str(), "true" | "false") => {
                let message = "expected a boolean, found a quoted string; write it without quotes";
                d.error(node.mark, codes::WRONG_TYPE, message);
                return None;
            }
            _ => d.describe(node),
        },
        _ => d.describe(node),
    };
    let message = format!("expected a boolean, found {found}; write `true` or `false`");
    d.error(node.mark, codes::WRONG_TYPE, message);
    None
}

/// One of a fixed set of names; `what` describes them, with its article.
pub(crate) fn choice<T: Copy>(
    d: &mut Decoder,
    node: &Node,
    what: &str,
    options: &[(&str, T)],
) -> Option<T> {
    let text = string_ref(d, node)?;
    if let Some((_, value)) = options.iter().find(|(name, _)| *name == text) {
        return Some(*value);
    }
    let names = || options.iter().map(|(name, _)| *name);
    let hint = did_you_mean(text, names());
    let shown = d.show(text);
    let list = names().collect::<Vec<_>>().join(", ");
    let message = format!("{shown} is not {what}{hint} (one of {list})");
    d.error(node.mark, codes::UNKNOWN_CHOICE, message);
    None
}
