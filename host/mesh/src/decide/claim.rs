//! Conditions on the claims of a verified token: header keys such as
//! `@request.auth.claims.group`.

use galleria_manifest::model::{StringMatch, claim_path};
use serde_json::Value;

use crate::inbound::RequestPrincipal;

/// A claim, by its path in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimKey {
    /// As written.
    name: String,
    path: Vec<String>,
}

impl ClaimKey {
    /// `None` if the header key is not that of a claim.
    pub(crate) fn new(key: &str) -> Option<Self> {
        Some(Self {
            name: key.to_owned(),
            path: claim_path(key)?,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the claim is text that matches, or a list with such a text.
    pub(crate) fn matches(
        &self,
        principal: Option<&RequestPrincipal>,
        expected: &StringMatch,
    ) -> bool {
        let matches = |value: &Value| value.as_str().is_some_and(|text| expected.matches(text));
        match self.value(principal) {
            Some(Value::Array(list)) => list.iter().any(matches),
            Some(value) => matches(value),
            None => false,
        }
    }

    /// For `explain`.
    pub(crate) fn shown(&self, principal: Option<&RequestPrincipal>) -> Option<String> {
        self.value(principal).map(ToString::to_string)
    }

    fn value<'a>(&self, principal: Option<&'a RequestPrincipal>) -> Option<&'a Value> {
        let (first, rest) = self.path.split_first()?;
        let claim = principal?.claims.get(first)?;
        rest.iter()
            .try_fold(claim, |value, name| value.get(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_found_by_path() {
        let claims = json!({"group": "admin", "roles": ["a", "b"], "org": {"name": "acme"},
            "https://x.test/y": "z", "level": 7});
        let principal = RequestPrincipal {
            issuer: "i".into(),
            subject: "s".into(),
            audiences: Vec::new(),
            presenter: None,
            claims: claims.as_object().cloned().unwrap_or_default(),
        };
        for (key, expected, matches) in [
            (".group", "admin", true),
            (".group", "adm", false),
            (".roles", "b", true),
            (".roles", "c", false),
            (".org.name", "acme", true),
            ("[org][name]", "acme", true),
            ("[https://x.test/y]", "z", true),
            (".org", "acme", false),
            (".level", "7", false),
            (".nothing", "", false),
        ] {
            let key = ClaimKey::new(&format!("@request.auth.claims{key}")).expect("a key");
            let exact = StringMatch::Exact(expected.into());
            assert_eq!(key.matches(Some(&principal), &exact), matches, "{key:?}");
            assert!(!key.matches(None, &exact), "without a token");
        }
        for key in [
            "x-header",
            "@request.auth.claims",
            "@request.auth.claims.",
            "@request.auth.claims[]",
        ] {
            assert_eq!(ClaimKey::new(key), None, "{key}");
        }
    }
}
