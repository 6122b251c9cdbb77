//! A price as customers see it. The storefront does not calculate with prices, so it
//! keeps the digits that the product service wrote.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The digits before and after the decimal point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    major: String,
    minor: String,
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = <&RawValue>::deserialize(deserializer)?.get();
        Self::parse(number).ok_or_else(|| D::Error::custom(format!("{number} is not a price")))
    }
}

impl Price {
    fn parse(number: &str) -> Option<Self> {
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        (is_digits(major) && is_digits(minor)).then(|| Self {
            major: major.to_owned(),
            minor: minor.to_owned(),
        })
    }
}

/// With thousands separators and at least two decimals: `90,000.00`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, digit) in self.major.chars().enumerate() {
            if index > 0 && (self.major.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, ".{:0<2}", self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_shown_with_all_their_digits() {
        for (number, shown) in [
            ("90000.0", "90,000.00"),
            ("0.5", "0.50"),
            ("999", "999.00"),
            ("1000.05", "1,000.05"),
            ("123456789.99", "123,456,789.99"),
        ] {
            assert_eq!(
                serde_json::from_str::<Price>(number).unwrap().to_string(),
                shown
            );
        }
    }

    #[test]
    fn invalid_prices_are_not_shown() {
        for text in ["-1", "1e9", "\"12\"", "null", "<b>"] {
            assert_eq!(Price::parse(text), None, "{text}");
        }
    }
}
