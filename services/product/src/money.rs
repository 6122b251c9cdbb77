//! Exact money: an amount in minor units, serialized as a JSON number with decimals. No
//! floating-point conversion is involved.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Minor units in a major one: paise in a rupee, cents in a dollar.
const MINOR_PER_MAJOR: i64 = 100;

/// An amount, zero or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Money {
    minor_units: i64,
}

/// Why a text is not an amount.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoneyError {
    #[error("an amount is a plain number such as 90000.0, not {0}")]
    NotPlain(String),
    #[error("{0} has more than two decimal places")]
    TooFine(String),
    #[error("{0} is more than any price (at most 999999999.99)")]
    TooLarge(String),
}

impl Money {
    /// The largest price that the shop accepts.
    const MAX: Self = Self {
        minor_units: 99_999_999_999,
    };

    pub(crate) fn from_minor_units(minor_units: i64) -> Self {
        Self { minor_units }
    }

    pub(crate) fn minor_units(self) -> i64 {
        self.minor_units
    }

    /// Parses a plain decimal: digits, and at most two digits after a point (further
    /// zeros are allowed).
    fn parse(text: &str) -> Result<Self, MoneyError> {
        let not_plain = || MoneyError::NotPlain(text.to_owned());
        let (major, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(major) || !is_digits(decimals) {
            return Err(not_plain());
        }
        let decimals = decimals.trim_end_matches('0');
        let minor: i64 = match decimals.len() {
            0 => 0,
            1 => decimals.parse::<i64>().map_err(|_| not_plain())? * 10,
            2 => decimals.parse().map_err(|_| not_plain())?,
            _ => return Err(MoneyError::TooFine(text.to_owned())),
        };
        let amount = major
            .parse::<i64>()
            .ok()
            .and_then(|major| major.checked_mul(MINOR_PER_MAJOR)?.checked_add(minor))
            .map(Self::from_minor_units)
            .filter(|amount| *amount <= Self::MAX);
        amount.ok_or_else(|| MoneyError::TooLarge(text.to_owned()))
    }
}

/// In the portal's format: at least one decimal, without further trailing zeros.
impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = (
            self.minor_units / MINOR_PER_MAJOR,
            self.minor_units % MINOR_PER_MAJOR,
        );
        if minor % 10 == 0 {
            write!(f, "{major}.{}", minor / 10)
        } else {
            write!(f, "{major}.{minor:02}")
        }
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = <&RawValue>::deserialize(deserializer)?;
        Self::parse(number.get()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_the_portals_format() {
        for (minor_units, text) in [
            (9_000_000, "90000.0"),
            (1_999, "19.99"),
            (1_950, "19.5"),
            (5, "0.05"),
            (0, "0.0"),
        ] {
            let money = Money::from_minor_units(minor_units);
            assert_eq!(serde_json::to_string(&money).unwrap(), text);
            assert_eq!(serde_json::from_str::<Money>(text).unwrap(), money);
        }
    }

    #[test]
    fn amounts_that_floats_cannot_represent_stay_exact() {
        for text in ["0.1", "0.29", "1.15", "90071992.99", "999999999.99"] {
            assert_eq!(
                serde_json::from_str::<Money>(text).unwrap().to_string(),
                text
            );
        }
        assert_eq!(Money::parse("12.500"), Ok(Money::from_minor_units(1_250)));
        assert_eq!(Money::parse("12"), Ok(Money::from_minor_units(1_200)));
    }

    #[test]
    fn invalid_amounts_are_rejected() {
        for text in ["-1", "1e3", "\"12\"", "null", "true", "[]", "1.", ".5"] {
            assert!(
                matches!(Money::parse(text), Err(MoneyError::NotPlain(_))),
                "{text}"
            );
        }
        assert!(matches!(Money::parse("1.999"), Err(MoneyError::TooFine(_))));
        for text in ["1000000000", "99999999999999999999"] {
            assert!(
                matches!(Money::parse(text), Err(MoneyError::TooLarge(_))),
                "{text}"
            );
        }
    }
}
