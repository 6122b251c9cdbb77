//! The SPIFFE ID of a workload: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`, as
//! Istio writes it into certificates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The trust domain of a mesh that does not choose another one, as in Istio.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// The longest ID of the SPIFFE standard, in bytes.
const LENGTH_MAX: usize = 2048;

const SCHEME: &str = "spiffe://";
const NAMESPACE: &str = "/ns/";
const ACCOUNT: &str = "/sa/";

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the namespace begins in the text.
    namespace: usize,
    /// Where the service account begins in the text.
    account: usize,
}

/// The text is not the SPIFFE ID of a workload, or a part of it has characters that the
/// standard does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSpiffeId;

impl SpiffeId {
    /// # Errors
    /// A part is empty, or has characters that the standard does not allow.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        account: &str,
    ) -> Result<Self, InvalidSpiffeId> {
        let is_valid =
            is_trust_domain(trust_domain) && is_segment(namespace) && is_segment(account);
        let text = format!("{SCHEME}{trust_domain}{NAMESPACE}{namespace}{ACCOUNT}{account}");
        if !is_valid || text.len() > LENGTH_MAX {
            return Err(InvalidSpiffeId);
        }
        let namespace_start = SCHEME.len() + trust_domain.len() + NAMESPACE.len();
        Ok(Self {
            namespace: namespace_start,
            account: namespace_start + namespace.len() + ACCOUNT.len(),
            text: text.into(),
        })
    }

    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.namespace - NAMESPACE.len()]
    }

    pub fn namespace(&self) -> &str {
        &self.text[self.namespace..self.account - ACCOUNT.len()]
    }

    /// The name of the service account.
    pub fn account(&self) -> &str {
        &self.text[self.account..]
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId)?;
        let (trust_domain, rest) = rest.split_once(NAMESPACE).ok_or(InvalidSpiffeId)?;
        let (namespace, account) = rest.split_once(ACCOUNT).ok_or(InvalidSpiffeId)?;
        Self::new(trust_domain, namespace, account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for InvalidSpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`")
    }
}

impl std::error::Error for InvalidSpiffeId {}

/// Whether `name` is a trust domain of the SPIFFE standard: lower-case letters, digits, `.`,
/// `-` and `_`.
pub fn is_trust_domain(name: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b".-_".contains(&it);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(allowed)
}

/// Whether `name` is a segment of the path of a SPIFFE ID.
fn is_segment(name: &str) -> bool {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
    !matches!(name, "" | "." | "..") && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_id_has_its_parts_and_its_text() {
        for (text, parts) in [
            (
                "spiffe://cluster.local/ns/shop/sa/ui",
                ("cluster.local", "shop", "ui"),
            ),
            ("spiffe://a_b-c.1/ns/N/sa/x.y_z", ("a_b-c.1", "N", "x.y_z")),
            ("spiffe://ns/ns/ns/sa/sa", ("ns", "ns", "sa")),
        ] {
            let id: SpiffeId = text.parse().expect(text);
            assert_eq!((id.trust_domain(), id.namespace(), id.account()), parts);
            assert_eq!((id.as_str(), id.to_string().as_str()), (text, text));
            let (trust_domain, namespace, account) = parts;
            assert_eq!(SpiffeId::new(trust_domain, namespace, account), Ok(id));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("spiffe://a/ns/b/sa/{}", "c".repeat(LENGTH_MAX));
        for text in [
            "",
            "cluster.local/ns/a/sa/b",
            "https://cluster.local/ns/a/sa/b",
            "SPIFFE://cluster.local/ns/a/sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://Cluster.local/ns/a/sa/b",
            "spiffe://cluster.local:1/ns/a/sa/b",
            "spiffe://user@cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b/sa/c",
            "spiffe://cluster.local/x/ns/a/sa/b",
            "spiffe://cluster.local/ns/a/x/sa/b",
            "spiffe://cluster.local/sa/b/ns/a",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://cluster.local/ns/a/sa/%62",
            "spiffe://cluster.local/ns/a/sa/b?c",
            "spiffe://cluster.local/ns/a/sa/b#c",
            "spiffe://cluster.local/ns/a/sa/b c",
            &long,
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(InvalidSpiffeId), "{text}");
        }
    }

    #[test]
    fn names_that_would_change_the_meaning_are_refused() {
        for (namespace, account) in [("a/sa/b", "c"), ("a", "b/sa/c"), ("", "b"), ("a", "")] {
            let id = SpiffeId::new("cluster.local", namespace, account);
            assert_eq!(id, Err(InvalidSpiffeId), "{namespace} {account}");
        }
    }
}
