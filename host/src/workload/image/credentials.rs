//! Logins for registries, from Secrets of type `kubernetes.io/dockerconfigjson`, as the
//! kubelet reads them.
//!
//! Logins do not implement `Debug`, and malformed Secrets are ignored without a message, so
//! that no password is ever logged.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::reference::Reference;

/// A username and a password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    /// base64 of `username:password`; takes precedence, as in the kubelet.
    auth: Option<String>,
}

/// The logins in `secrets` for the registry of `image`, the most specific first. Each secret
/// is the JSON of a `.dockerconfigjson`.
pub(super) fn logins<'a>(
    image: &Reference,
    secrets: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Login> {
    let mut found: Vec<(usize, Login)> = Vec::new();
    for secret in secrets {
        let Ok(config) = serde_json::from_slice::<DockerConfig>(secret) else {
            continue;
        };
        for (place, entry) in config.auths {
            if let (Some(exactness), Some(login)) = (matches(&place, image), entry.login())
                && !found.iter().any(|(_, known)| *known == login)
            {
                found.push((exactness, login));
            }
        }
    }
    found.sort_by_key(|(exactness, _)| std::cmp::Reverse(*exactness));
    found.into_iter().map(|(_, login)| login).collect()
}

impl Entry {
    fn login(self) -> Option<Login> {
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let decoded = String::from_utf8(BASE64_STANDARD.decode(auth.trim()).ok()?).ok()?;
            let (username, password) = decoded.split_once(':')?;
            return Some(Login {
                username: username.to_owned(),
                password: password.to_owned(),
            });
        }
        Some(Login {
            username: self.username?,
            password: self.password?,
        })
    }
}

/// How specifically `place` (`[https://]HOST[/PATH]`, with `*` for one label of the host)
/// matches the image, as the length of its path. `None` if it does not match.
fn matches(place: &str, image: &Reference) -> Option<usize> {
    let place = place
        .strip_prefix("https://")
        .or_else(|| place.strip_prefix("http://"))
        .unwrap_or(place);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let path = path.trim_end_matches('/');
    // Old tools append the version of the API to the host.
    let path = if matches!(path, "v1" | "v2") {
        ""
    } else {
        path
    };
    let host_matches = same_host(host, image.host.as_deref()?);
    let rest = image.repository.strip_prefix(path)?;
    let path_matches = path.is_empty() || rest.is_empty() || rest.starts_with('/');
    (host_matches && path_matches).then_some(path.len())
}

fn same_host(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.split('.'), host.split('.'));
    pattern.clone().count() == host.clone().count()
        && pattern
            .zip(host)
            .all(|(pattern, label)| pattern == "*" || pattern.eq_ignore_ascii_case(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(image: &str, config: &str) -> Vec<String> {
        let image = Reference::parse(image).expect("an image");
        let logins = logins(&image, [config.as_bytes()]);
        logins.into_iter().map(|login| login.username).collect()
    }

    #[test]
    fn the_most_specific_entry_comes_first() {
        let config = r#"{"auths": {
            "registry.example": {"username": "all", "password": "1"},
            "https://registry.example/shop/": {"username": "shop", "password": "2"},
            "registry.example/shopping": {"username": "another", "password": "3"},
            "other.example": {"username": "other", "password": "4"}}}"#;
        assert_eq!(
            names("registry.example/shop/ui:v1", config),
            ["shop", "all"]
        );
        assert_eq!(names("registry.example/ui:v1", config), ["all"]);
        assert!(names("shop/ui:v1", config).is_empty());
    }

    #[test]
    fn hosts_match_label_by_label() {
        let config = r#"{"auths": {"*.example:5000": {"auth": "YW5uOmE6Yg=="}}}"#;
        assert_eq!(names("eu.example:5000/ui", config), ["ann"]);
        assert!(names("eu.example/ui", config).is_empty());
        assert!(names("a.eu.example:5000/ui", config).is_empty());
        let image = Reference::parse("eu.example:5000/ui").expect("an image");
        assert_eq!(logins(&image, [config.as_bytes()])[0].password, "a:b");
    }

    #[test]
    fn malformed_configurations_have_no_login() {
        for config in ["", "{}", "[]", r#"{"auths": {"a.example": {"auth": "?"}}}"#] {
            assert!(names("a.example/ui", config).is_empty(), "{config}");
        }
    }
}
