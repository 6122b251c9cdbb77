//! An image's name, taken apart: `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:HEX]`.
//!
//! A first part with a dot, a port, or the word `localhost` is a registry's
//! host, as everywhere. There is no host that is meant where none is named.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The tag that is meant where there is neither tag nor digest.
const LATEST: &str = "latest";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// With its port, if it has one.
    pub(super) host: Option<String>,
    /// Everything between host and tag.
    pub(super) repository: String,
    tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest(String);

impl Reference {
    /// None where the text is no such name, or could lead out of a folder.
    pub(super) fn parse(image: &str) -> Option<Self> {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (image, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (Some(first.to_owned()), rest),
            _ => (None, name),
        };
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let sound = repository.split('/').all(is_plain) && tag.is_none_or(is_plain);
        sound.then(|| Self {
            host,
            repository: repository.to_owned(),
            tag: tag.map(ToOwned::to_owned),
            digest,
        })
    }

    /// The last part of the repository, by which `--components` knows it.
    pub(super) fn name(&self) -> &str {
        let last = self.repository.rsplit('/').next();
        last.unwrap_or(&self.repository)
    }

    pub(super) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(LATEST)
    }

    /// Whether the name stands for whatever is newest.
    pub(super) fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag() == LATEST
    }
}

impl fmt::Display for Reference {
    /// In full, the tag that is meant included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        f.write_str(&self.repository)?;
        match (&self.tag, &self.digest) {
            (None, Some(_)) => {}
            _ => write!(f, ":{}", self.tag())?,
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl Digest {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == 64 && hex.bytes().all(lower)).then(|| Self(text.to_owned()))
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::from_hash(&Sha256::digest(bytes))
    }

    pub(super) fn from_hash(hash: &[u8]) -> Self {
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("sha256:{hex}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Its file below `blobs/sha256`.
    pub(super) fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_host(first: &str) -> bool {
    let (name, port) = match first.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (first, None),
    };
    let host = name == "localhost" || name.contains('.') || port.is_some();
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    host && name.split('.').all(|label| !label.is_empty())
        && name.bytes().all(sound)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(image: &str) -> Reference {
        Reference::parse(image).expect(image)
    }

    #[test]
    fn the_last_part_of_the_name_and_the_tag_decide() {
        assert_eq!(
            (parse("galleria/ui:v1").name(), parse("ui:v1").tag()),
            ("ui", "v1")
        );
        assert_eq!(parse("shop/ui").tag(), "latest");
        assert!(parse("shop/ui").is_latest() && !parse("shop/ui:v1").is_latest());
    }

    #[test]
    fn a_host_is_one_that_looks_like_it() {
        let host = |image: &str| parse(image).host;
        assert_eq!(
            host("localhost:5000/shop/ui"),
            Some("localhost:5000".into())
        );
        assert_eq!(
            host("registry.example/ui:v1"),
            Some("registry.example".into())
        );
        assert_eq!(host("127.0.0.1:5000/ui"), Some("127.0.0.1:5000".into()));
        assert_eq!(host("shop/ui:v1"), None);
        assert_eq!(host("ui.v1:v2"), None);
    }

    #[test]
    fn a_digest_pins_it() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let pinned = parse(&format!("registry.example/shop/ui@{digest}"));
        assert_eq!(pinned.digest, Digest::parse(&digest));
        assert_eq!(
            pinned.to_string(),
            format!("registry.example/shop/ui@{digest}")
        );
        assert!(!pinned.is_latest());
        for bad in ["ui@sha256:abc", "ui@md5:abc", "ui@"] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for image in [
            "",
            "shop/",
            "shop/..",
            "shop/ui:..",
            "ui:",
            ".hidden:v1",
            "../ui:v1",
        ] {
            assert_eq!(Reference::parse(image), None, "{image}");
        }
    }
}
