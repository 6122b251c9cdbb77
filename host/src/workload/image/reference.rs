//! Parses an image name: `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:HEX]`.
//!
//! As in Docker, the first part is a registry's host if it contains a dot or a port, or is
//! `localhost`. Unlike in Docker, there is no default registry: an image without a host is
//! local. This is why `oci_spec::distribution::Reference` is not used, which also does not
//! support IPv6 addresses.

use std::fmt;

use oci_spec::image::Digest;

use super::digest;

/// The tag of an image with neither tag nor digest.
const LATEST: &str = "latest";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The registry, with its port if it has one.
    pub(super) host: Option<String>,
    /// Everything between the host and the tag.
    pub(super) repository: String,
    tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl Reference {
    /// `None` if `image` is malformed, or contains a part that is unsafe as a file name.
    pub(super) fn parse(image: &str) -> Option<Self> {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest::parse(digest)?)),
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

    /// The last part of the repository: the name in the `--components` folder.
    pub(super) fn name(&self) -> &str {
        let last = self.repository.rsplit('/').next();
        last.unwrap_or(&self.repository)
    }

    pub(super) fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(LATEST)
    }

    /// Whether the name is not fixed to a version, so that it must be pulled again.
    pub(super) fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag() == LATEST
    }
}

impl fmt::Display for Reference {
    /// The full name, with the default tag if there is neither tag nor digest.
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
    fn name_is_the_last_part_and_the_default_tag_is_latest() {
        assert_eq!(
            (parse("galleria/ui:v1").name(), parse("ui:v1").tag()),
            ("ui", "v1")
        );
        assert_eq!(parse("shop/ui").tag(), "latest");
        assert!(parse("shop/ui").is_latest() && !parse("shop/ui:v1").is_latest());
    }

    #[test]
    fn host_has_a_dot_or_a_port_or_is_localhost() {
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
        assert_eq!(host("[::1]:5000/ui"), Some("[::1]:5000".into()));
        assert_eq!(host("shop/ui:v1"), None);
        assert_eq!(host("ui.v1:v2"), None);
    }

    #[test]
    fn digest_must_be_sha256() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let pinned = parse(&format!("registry.example/shop/ui@{digest}"));
        assert_eq!(pinned.digest, digest::parse(&digest));
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
    fn names_that_are_unsafe_as_file_names_are_rejected() {
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
