//! How numbers are written.

use super::model::Spread;

/// Three significant digits, or all digits before the point; whole numbers have no others.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size.fract() == 0.0 || size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let whole = format!("{value:.decimals$}");
    if decimals > 0 {
        return whole;
    }
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The median and, if rounds differ, the smallest and the largest value.
pub(super) fn spread(Spread { median, min, max }: Spread, unit: &str) -> String {
    let text = format!("{}{unit}", number(median));
    match min < max {
        true => format!("{text} ({}–{})", number(min), number(max)),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_all_before_the_point() {
        let texts = [
            0.0, 0.0414, 1.0, 3.456, 12.34, 99.96, 123.4, 45678.9, 1234567.0,
        ];
        let expected = [
            "0",
            "0.041",
            "1",
            "3.46",
            "12.3",
            "100",
            "123",
            "45,679",
            "1,234,567",
        ];
        assert_eq!(texts.map(number), expected);
    }
}
