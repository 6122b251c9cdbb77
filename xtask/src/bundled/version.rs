//! Versions of C libraries: numbers with dots between them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use serde::{Deserialize, Deserializer, de};

/// A version; one that is shorter continues with zeros.
#[derive(Debug, Clone)]
pub(super) struct Version(Vec<u32>);

impl Version {
    /// The version in `#define NAME "3.54.1"` or `#define NAME 30302`, which is 3.3.2.
    pub(super) fn defined(text: &str, name: &str) -> Option<Self> {
        let value = text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let is_it = words.next() == Some("#define") && words.next() == Some(name);
            is_it.then(|| words.next())?
        })?;
        match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?.parse().ok(),
            None => {
                let number: u32 = value.parse().ok()?;
                Some(Self(vec![
                    number / 10_000,
                    number / 100 % 100,
                    number % 100,
                ]))
            }
        }
    }

    fn part(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        let parts = parts.with_context(|| format!("`{text}` is not a version"))?;
        Ok(Self(parts))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = 0..self.0.len().max(other.0.len());
        let mut compared = parts.map(|index| self.part(index).cmp(&other.part(index)));
        compared.find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| text.parse::<Version>().expect(text);
        for (smaller, larger) in [
            ("3.9.0", "3.10.0"),
            ("0", "0.0.1"),
            ("3", "3.0.1"),
            ("1.9", "2"),
        ] {
            assert!(version(smaller) < version(larger), "{smaller} {larger}");
        }
        assert_eq!(version("3"), version("3.0.0"));
        assert!("3.x".parse::<Version>().is_err());
    }

    #[test]
    fn version_is_read_from_a_header() {
        let header = "/* #define V 1 */\n#define V_NUMBER 3054001\n#define V        \"3.54.1\"\n# define W 1\n#define M 30302 // comment\n";
        let read = |name| Version::defined(header, name).map(|it| it.to_string());
        assert_eq!(read("V").as_deref(), Some("3.54.1"));
        assert_eq!(read("M").as_deref(), Some("3.3.2"));
        assert_eq!(read("MISSING"), None);
    }
}
