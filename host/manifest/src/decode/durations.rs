//! Durations: Istio's `1.5s` and Kubernetes' whole seconds.

use std::time::Duration;

use super::{Decoder, integer};
use crate::codes;
use crate::yaml::{Node, ResolvedScalar, Value};

/// A year: longer than any sensible timeout.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `1h30m`, `2s`, `500ms`, `0.5s`; not negative.
pub(crate) fn duration(d: &mut Decoder, node: &Node) -> Option<Duration> {
    let Value::Scalar(scalar) = &node.value else {
        return refuse(d, node, "");
    };
    if let ResolvedScalar::Int(number) = scalar.resolve() {
        return refuse(d, node, &format!("; a unit is missing, write `{number}s`"));
    }
    let text = scalar.text.trim();
    if text.starts_with('-') && go_duration(&text[1..]).is_some() {
        let shown = d.show(text);
        d.error(
            node.mark,
            codes::INVALID_VALUE,
            format!("{shown} is negative; a duration cannot be"),
        );
        return None;
    }
    match go_duration(text) {
        Some(value) if value <= LONGEST => Some(value),
        Some(_) => {
            d.error(node.mark, codes::INVALID_VALUE, "is longer than a year");
            None
        }
        None => refuse(d, node, ""),
    }
}

/// As [`duration`], but not zero, and in whole milliseconds.
pub(crate) fn positive_duration(d: &mut Decoder, node: &Node) -> Option<Duration> {
    let value = duration(d, node)?;
    positive(d, node, value)
}

/// A timeout. Without an effect if it is zero, which Istio refuses.
pub(crate) fn optional_timeout(d: &mut Decoder, node: &Node) -> Option<Duration> {
    let value = duration(d, node)?;
    if value.is_zero() {
        let message =
            "a cluster refuses a timeout of zero, which is none here; leave the field out";
        d.warning(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    positive(d, node, value)
}

fn positive(d: &mut Decoder, node: &Node, value: Duration) -> Option<Duration> {
    if value < Duration::from_millis(1) {
        d.error(node.mark, codes::INVALID_VALUE, "must be at least 1ms");
        return None;
    }
    if !value.subsec_nanos().is_multiple_of(1_000_000) {
        let message = "must be a whole number of milliseconds";
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(value)
}

/// Kubernetes' `…Seconds` fields.
pub(crate) fn non_negative_seconds(d: &mut Decoder, node: &Node) -> Option<Duration> {
    integer(0..=31_536_000)(d, node).map(|seconds| Duration::from_secs(seconds.into()))
}

fn refuse(d: &mut Decoder, node: &Node, hint: &str) -> Option<Duration> {
    let found = d.describe(node);
    let hint = if hint.is_empty() {
        "; write for example `1s`, `500ms` or `1h30m`"
    } else {
        hint
    };
    d.error(
        node.mark,
        codes::INVALID_VALUE,
        format!("expected a duration, found {found}{hint}"),
    );
    None
}

/// Go's syntax of durations, without a sign.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(total).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        assert_eq!(go_duration("1s"), Some(Duration::from_secs(1)));
        assert_eq!(go_duration("0.5s"), Some(Duration::from_millis(500)));
        assert_eq!(go_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(go_duration("25ms"), Some(Duration::from_millis(25)));
        assert_eq!(go_duration("0"), Some(Duration::ZERO));
        assert_eq!(go_duration("1d"), None);
        assert_eq!(go_duration("s"), None);
        assert_eq!(go_duration(""), None);
        assert_eq!(go_duration("1e400h"), None);
    }
}
