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
pub(crate) enum Resolved {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Scalar {
    pub(crate) fn resolve(&self) -> Resolved {
        match self.style {
            Style::Text => Resolved::Text,
            Style::Plain => resolve_plain(&self.text),
        }
    }

    /// Whether this is a boolean in YAML 1.1, which clusters read, and a string in YAML 1.2.
    pub(crate) fn is_old_boolean(&self) -> bool {
        self.style == Style::Plain
            && matches!(
                self.text.as_str(),
                "yes"
                    | "Yes"
                    | "YES"
                    | "no"
                    | "No"
                    | "NO"
                    | "on"
                    | "On"
                    | "ON"
                    | "off"
                    | "Off"
                    | "OFF"
                    | "y"
                    | "Y"
                    | "n"
                    | "N"
            )
    }
}

fn resolve_plain(text: &str) -> Resolved {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        _ => {}
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Resolved::Text;
    }
    integer(text)
        .map(Resolved::Int)
        .or_else(|| float(text).map(Resolved::Float))
        .unwrap_or(Resolved::Text)
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

    fn plain(text: &str) -> Resolved {
        Scalar {
            text: text.to_owned(),
            style: Style::Plain,
            lead: Some(0),
        }
        .resolve()
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert_eq!(plain(""), Resolved::Null);
        assert_eq!(plain("True"), Resolved::Bool(true));
        assert_eq!(plain("80"), Resolved::Int(80));
        assert_eq!(plain("-0x1F"), Resolved::Int(-31));
        assert_eq!(plain("1e3"), Resolved::Float(1000.0));
        assert_eq!(plain("1.0.2"), Resolved::Text);
        assert_eq!(plain("64Mi"), Resolved::Text);
        assert_eq!(plain("yes"), Resolved::Text);
        assert_eq!(plain("-"), Resolved::Text);
        assert_eq!(plain("inf"), Resolved::Text);
    }

    #[test]
    fn a_leading_zero_is_octal_as_in_a_cluster() {
        assert_eq!(plain("0644"), Resolved::Int(0o644));
        assert_eq!(plain("0o644"), Resolved::Int(0o644));
        assert_eq!(plain("0"), Resolved::Int(0));
        assert_eq!(plain("0899"), Resolved::Int(899));
    }
}
