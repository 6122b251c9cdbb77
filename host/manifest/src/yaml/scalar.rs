//! The type of a scalar by YAML 1.2's core schema.

/// How a scalar is written, which decides its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: the text decides the type.
    Plain,
    /// Quoted, a block, or tagged `!!str`: always a string.
    Text,
}

#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
    /// The number of characters (a quote, or none) between the position of the scalar and its
    /// text. `None` if the text differs from what is written: with several lines or escapes.
    pub(crate) lead: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ResolvedScalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Scalar {
    pub(crate) fn resolve(&self) -> ResolvedScalar {
        match self.style {
            Style::Text => ResolvedScalar::Text,
            Style::Plain => resolve_plain(&self.text),
        }
    }

    /// The boolean that this is in YAML 1.1, which clusters read; in YAML 1.2 it is a string.
    pub(crate) fn old_boolean(&self) -> Option<bool> {
        if self.style != Style::Plain {
            return None;
        }
        match self.text.as_str() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
            _ => None,
        }
    }
}

fn resolve_plain(text: &str) -> ResolvedScalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ResolvedScalar::Null,
        "true" | "True" | "TRUE" => return ResolvedScalar::Bool(true),
        "false" | "False" | "FALSE" => return ResolvedScalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return ResolvedScalar::Float(f64::NAN),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return ResolvedScalar::Text;
    }
    integer(text)
        .map(ResolvedScalar::Int)
        .or_else(|| float(text).map(ResolvedScalar::Float))
        .unwrap_or(ResolvedScalar::Text)
}

/// Decimal, `0x`, `0o`, and the leading zero that clusters still read as octal (`0644`).
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hexadecimal) = digits.strip_prefix("0x") {
        (16, hexadecimal)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (8, octal)
    } else if digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
    {
        (8, digits)
    } else {
        (10, digits)
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    // `parse` also takes `inf` and `nan`, which the core schema does not.
    let shaped = unsigned.bytes().any(|byte| byte.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    shaped.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> ResolvedScalar {
        Scalar {
            text: text.to_owned(),
            style: Style::Plain,
            lead: Some(0),
        }
        .resolve()
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert_eq!(plain(""), ResolvedScalar::Null);
        assert_eq!(plain("True"), ResolvedScalar::Bool(true));
        assert_eq!(plain("80"), ResolvedScalar::Int(80));
        assert_eq!(plain("-0x1F"), ResolvedScalar::Int(-31));
        assert_eq!(plain("1e3"), ResolvedScalar::Float(1000.0));
        assert_eq!(plain("1.0.2"), ResolvedScalar::Text);
        assert_eq!(plain("64Mi"), ResolvedScalar::Text);
        assert_eq!(plain("yes"), ResolvedScalar::Text);
        assert_eq!(plain("-"), ResolvedScalar::Text);
        assert_eq!(plain("inf"), ResolvedScalar::Text);
    }

    #[test]
    fn a_leading_zero_is_octal_as_in_a_cluster() {
        assert_eq!(plain("0644"), ResolvedScalar::Int(0o644));
        assert_eq!(plain("0o644"), ResolvedScalar::Int(0o644));
        assert_eq!(plain("0"), ResolvedScalar::Int(0));
        assert_eq!(plain("0899"), ResolvedScalar::Int(899));
    }
}
