//! Boolean parameters of requests, as an API server reads them.

use serde::Deserialize;

/// A parameter such as `watch`: set by every value that does not say otherwise, also by none
/// (`?watch`).
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Flag(Option<String>);

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        let text = self.0.as_deref();
        text.is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    /// Whether the request has the parameter, set or not.
    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_unless_its_value_says_otherwise() {
        let is_set = |text: &str| Flag(Some(text.to_owned())).is_set();
        for text in ["true", "1", "t", "", "maybe"] {
            assert!(is_set(text), "{text:?}");
        }
        for text in ["false", "False", "0"] {
            assert!(!is_set(text), "{text:?}");
        }
        assert!(!Flag::default().is_set() && !Flag::default().is_given());
    }
}
