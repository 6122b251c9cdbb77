//! Lists of header names with wildcards.

use http::HeaderName;

/// Names of headers: `exact`, `prefix*` and `*suffix`.
#[derive(Debug, Clone, Default)]
pub struct HeaderPatterns(Vec<Pattern>);

#[derive(Debug, Clone)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
}

impl HeaderPatterns {
    /// `patterns` are in lower case.
    pub fn new(patterns: &[String]) -> Self {
        let patterns = patterns.iter().map(|pattern| {
            match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(suffix), _) => Pattern::Suffix(suffix.to_owned()),
                (None, Some(prefix)) => Pattern::Prefix(prefix.to_owned()),
                (None, None) => Pattern::Exact(pattern.clone()),
            }
        });
        Self(patterns.collect())
    }

    /// Whether the list has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of the patterns matches.
    pub fn matches(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(expected) => name == expected,
            Pattern::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Pattern::Suffix(suffix) => name.ends_with(suffix.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("x-user", "x-user", true),
            ("x-user", "x-user-id", false),
            ("x-user*", "x-user", true),
            ("x-user*", "x-user-id", true),
            ("x-user*", "a-x-user", false),
            ("*-id", "x-user-id", true),
            ("*-id", "x-user-ids", false),
            ("*", "anything", true),
        ] {
            let patterns = HeaderPatterns::new(&[pattern.to_owned()]);
            let name = name.parse().expect("a name");
            assert_eq!(patterns.matches(&name), expected, "{pattern} {name}");
        }
        assert!(!HeaderPatterns::default().matches(&http::header::HOST));
    }
}
