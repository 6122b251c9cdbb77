//! Integers, ports and percentages.

use std::ops::RangeInclusive;

use super::Decoder;
use crate::codes;
use crate::model::{IntOrPercent, Percent, PortReference};
use crate::yaml::{Node, ResolvedScalar, Value};

/// A reader of integers within `range`.
pub(crate) fn integer(range: RangeInclusive<u32>) -> impl Fn(&mut Decoder, &Node) -> Option<u32> {
    move |d, node| {
        let value = any_integer(d, node)?;
        match u32::try_from(value) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                let (least, most) = (range.start(), range.end());
                let bound = match (value < 0 && *least == 0, *most) {
                    (true, _) => "must not be negative".to_owned(),
                    (false, u32::MAX) => format!("must be at least {least}"),
                    (false, most) => format!("must be {least} to {most}"),
                };
                let message = format!("{value} is out of range; {bound}");
                d.error(node.mark, codes::INVALID_VALUE, message);
                None
            }
        }
    }
}

fn any_integer(d: &mut Decoder, node: &Node) -> Option<i128> {
    if let Value::Scalar(scalar) = &node.value {
        match scalar.resolve() {
            ResolvedScalar::Int(value) => return Some(value),
            ResolvedScalar::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                return Some(value as i128);
            }
            ResolvedScalar::Text if scalar.text.parse::<i64>().is_ok() => {
                let shown = d.show(&scalar.text);
                let message =
                    format!("expected an integer, found the text {shown}; write it without quotes");
                d.error(node.mark, codes::WRONG_TYPE, message);
                return None;
            }
            _ => {}
        }
    }
    let found = d.describe(node);
    d.error(
        node.mark,
        codes::WRONG_TYPE,
        format!("expected an integer, found {found}"),
    );
    None
}

/// A port, 1 to 65535.
pub(crate) fn port(d: &mut Decoder, node: &Node) -> Option<u16> {
    integer(1..=65535)(d, node).and_then(|port| u16::try_from(port).ok())
}

/// As [`port`], but 0 is as absent.
pub(crate) fn optional_port(fields: &mut super::Fields<'_, '_>, name: &'static str) -> Option<u16> {
    let number = fields.optional(name, integer(0..=65535))?;
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// A port by number or by name.
pub(crate) fn port_reference(d: &mut Decoder, node: &Node) -> Option<PortReference> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.resolve() == ResolvedScalar::Text
    {
        if scalar.text.parse::<u64>().is_ok() {
            let shown = d.show(&scalar.text);
            let message = format!(
                "{shown} in quotes is a port's name, and a name needs a letter; write the number without quotes"
            );
            d.error(node.mark, codes::WRONG_TYPE, message);
            return None;
        }
        return port_name(d, &scalar.text, node).map(PortReference::Name);
    }
    port(d, node).map(PortReference::Number)
}

/// IANA service name: at most 15 lower-case letters, digits and `-`, with a letter.
pub(crate) fn port_name(d: &mut Decoder, text: &str, node: &Node) -> Option<String> {
    let valid = super::is_dns_label(text)
        && text.len() <= 15
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--");
    if valid {
        return Some(text.to_owned());
    }
    let shown = d.show(text);
    let message = format!(
        "{shown} is not a port name; use lower-case letters, digits and `-`, at most 15, with a letter"
    );
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

/// Any number.
pub(crate) fn number(d: &mut Decoder, node: &Node) -> Option<f64> {
    number_of(d, node, "a number")
}

fn number_of(d: &mut Decoder, node: &Node, what: &str) -> Option<f64> {
    let value = match &node.value {
        Value::Scalar(scalar) => match scalar.resolve() {
            ResolvedScalar::Int(value) => Some(value as f64),
            ResolvedScalar::Float(value) if value.is_finite() => Some(value),
            _ => None,
        },
        _ => None,
    };
    if value.is_none() {
        let found = d.describe(node);
        let message = format!("expected {what}, found {found}");
        d.error(node.mark, codes::WRONG_TYPE, message);
    }
    value
}

/// A number from 0 to 100.
pub(crate) fn percent(d: &mut Decoder, node: &Node) -> Option<Percent> {
    let value = number_of(d, node, "a number from 0 to 100")?;
    if !(0.0..=100.0).contains(&value) {
        let message = format!("{value} is not a percentage; must be 0 to 100");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(Percent(value))
}

/// Istio's `percentage: {value: 12.5}`.
pub(crate) fn percentage(d: &mut Decoder, node: &Node) -> Option<Percent> {
    if matches!(&node.value, Value::Scalar(_)) {
        let found = d.describe(node);
        let message = format!("expected a mapping, found {found}; write `value: …` below it");
        d.error(node.mark, codes::WRONG_TYPE, message);
        return None;
    }
    let mut fields = super::Fields::of(d, node)?;
    let value = fields.optional("value", percent);
    fields.finish(&[]);
    Some(value.unwrap_or(Percent(0.0)))
}

/// A count or `25%`.
pub(crate) fn int_or_percent(d: &mut Decoder, node: &Node) -> Option<IntOrPercent> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.resolve() == ResolvedScalar::Text
    {
        let number = scalar
            .text
            .strip_suffix('%')
            .and_then(|digits| digits.parse::<u32>().ok());
        match number {
            Some(value) if value <= 100 => return Some(IntOrPercent::Percent(value)),
            _ => {
                let shown = d.show(&scalar.text);
                let message =
                    format!("{shown} is neither a count nor a percentage; write 1 or \"25%\"");
                d.error(node.mark, codes::INVALID_VALUE, message);
                return None;
            }
        }
    }
    integer(0..=u32::MAX)(d, node).map(IntOrPercent::Int)
}
