//! Comparisons of texts in policies.

/// `exact`, `prefix*`, `*suffix` and `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// Every text, even an empty one.
    Any,
    /// `*`: every text that is not empty.
    NotEmpty,
}

impl TextMatch {
    pub(super) fn new(value: &str) -> Self {
        Self::after("", value)
    }

    /// As [`Self::new`]; texts begin with `start`, which `value` does not have.
    pub(super) fn after(start: &str, value: &str) -> Self {
        if value == "*" {
            return Self::NotEmpty;
        }
        match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(suffix), _) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(format!("{start}{prefix}")),
            (None, None) => Self::Exact(format!("{start}{value}")),
        }
    }

    /// For headers, where `*` means that the header is present.
    pub(super) fn of_header(value: &str) -> Self {
        match Self::new(value) {
            Self::NotEmpty => Self::Any,
            other => other,
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(expected) => text == expected,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Self::Any => true,
            Self::NotEmpty => !text.is_empty(),
        }
    }

    /// As [`Self::matches`], without regard to the case of ASCII letters.
    pub(super) fn matches_any_case(&self, text: &str) -> bool {
        let (text, length) = (text.as_bytes(), text.len());
        let part = match self {
            Self::Exact(expected) => return text.eq_ignore_ascii_case(expected.as_bytes()),
            Self::Prefix(prefix) => (text.get(..prefix.len()), prefix),
            Self::Suffix(suffix) => {
                let start = length.checked_sub(suffix.len());
                (start.and_then(|start| text.get(start..)), suffix)
            }
            Self::Any => return true,
            Self::NotEmpty => return length > 0,
        };
        part.0
            .is_some_and(|it| it.eq_ignore_ascii_case(part.1.as_bytes()))
    }
}
