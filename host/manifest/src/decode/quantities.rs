//! Kubernetes quantities: `500m`, `64Mi`, `1e3`, `0.5`.

use super::Decoder;
use crate::codes;
use crate::model::Quantity;
use crate::yaml::{Node, Value};

const SUFFIXES: &[(&str, i128, i128)] = &[
    ("", 1, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1000),
    ("k", 1000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
];

/// A quantity, as a number or in quotes; not negative.
pub(crate) fn quantity(d: &mut Decoder, node: &Node) -> Option<Quantity> {
    let Value::Scalar(scalar) = &node.value else {
        let found = d.describe(node);
        d.error(
            node.mark,
            codes::WRONG_TYPE,
            format!("expected a quantity, found {found}"),
        );
        return None;
    };
    match parse_quantity(&scalar.text) {
        Some(quantity) if quantity.millis < 0 => {
            let shown = d.show(&scalar.text);
            d.error(
                node.mark,
                codes::INVALID_VALUE,
                format!("{shown} is negative"),
            );
            None
        }
        Some(quantity) => Some(quantity),
        None => {
            let shown = d.show(&scalar.text);
            let (number, unit) = near_unit(&scalar.text);
            let near = unit.map(|unit| format!("{number}{unit}"));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message =
                format!("{shown} is not a quantity{hint} (for example 500m, 2, 64Mi, 1.5Gi)");
            d.error(node.mark, codes::WRONG_TYPE, message);
            None
        }
    }
}

/// As [`quantity`], but reads `200Mib` as the nearest valid quantity, with a warning: such
/// units appear in tutorials and are unambiguous, although a cluster refuses them.
pub(crate) fn near_quantity(d: &mut Decoder, node: &Node) -> Option<Quantity> {
    if let Value::Scalar(scalar) = &node.value
        && let (number, Some(unit)) = near_unit(&scalar.text)
        && parse_quantity(&scalar.text).is_none()
        && let near = format!("{number}{unit}")
        && let Some(quantity) = parse_quantity(&near)
    {
        let shown = d.show(&scalar.text);
        let message = format!("{shown} is not a quantity in a cluster; it is read as `{near}`");
        d.warning(node.mark, codes::INVALID_VALUE, message);
        return Some(quantity);
    }
    quantity(d, node)
}

/// The number at the beginning of `text`, and the unit that was probably meant.
fn near_unit(text: &str) -> (&str, Option<&'static str>) {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    (&text[..text.len() - unit.len()], unit_for(unit))
}

/// The unit that people mean when they write `MB`, `Mib`, `gi`.
fn unit_for(unit: &str) -> Option<&'static str> {
    let lower = unit.to_ascii_lowercase();
    let letter = lower.chars().next()?;
    if !matches!(lower.as_str().strip_prefix(letter)?, "" | "b" | "i" | "ib") {
        return None;
    }
    match letter {
        'k' => Some("Ki"),
        'm' => Some("Mi"),
        'g' => Some("Gi"),
        't' => Some("Ti"),
        _ => None,
    }
}

/// Bytes, rounded up.
pub(crate) fn bytes(d: &mut Decoder, node: &Node) -> Option<u64> {
    let quantity = quantity(d, node)?;
    if quantity.millis % 1000 != 0 {
        let message = "is a fraction of a byte (`m` means thousandths); did you mean `Mi`?";
        d.warning(node.mark, codes::INVALID_VALUE, message);
    }
    Some(u64::try_from((quantity.millis + 999) / 1000).unwrap_or(u64::MAX))
}

/// Thousandths of a core, rounded up.
pub(crate) fn cpu_millis(d: &mut Decoder, node: &Node) -> Option<u64> {
    Some(u64::try_from(quantity(d, node)?.millis).unwrap_or(u64::MAX))
}

/// Parses a quantity, rounded up to thousandths.
pub(crate) fn parse_quantity(text: &str) -> Option<Quantity> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number_end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || fraction.contains('.') || digits.len() > 24 {
        return None;
    }
    let (mut numerator, mut denominator) = match SUFFIXES.iter().find(|(name, ..)| *name == suffix)
    {
        Some((_, up, down)) => (*up, *down),
        None => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    numerator = digits
        .parse::<i128>()
        .ok()?
        .checked_mul(numerator)?
        .checked_mul(1000)?;
    denominator =
        denominator.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let millis = numerator.checked_add(denominator - 1)? / denominator;
    Some(Quantity {
        millis: if negative { -millis } else { millis },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<i128> {
        parse_quantity(text).map(|quantity| quantity.millis)
    }

    #[test]
    fn every_form_is_parsed() {
        assert_eq!(millis("500m"), Some(500));
        assert_eq!(millis("0.5"), Some(500));
        assert_eq!(millis("64Mi"), Some(64 * 1024 * 1024 * 1000));
        assert_eq!(millis("1e3"), Some(1_000_000));
        assert_eq!(millis("1E"), Some(1_000_000_000_000_000_000_000));
        assert_eq!(millis("100u"), Some(1));
        assert_eq!(millis("-1"), Some(-1000));
        assert_eq!(millis("200Mib"), None);
        assert_eq!(millis(""), None);
        assert_eq!(millis("1.2.3"), None);
        assert_eq!(millis("1e999"), None);
    }
}
