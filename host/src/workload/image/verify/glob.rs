//! Patterns of image names: `*` is any text without `/`, `**` is any text.

use regex::Regex;

use super::super::reference::Reference;

/// A pattern of image names.
#[derive(Debug)]
pub(super) struct Glob(Regex);

impl Glob {
    /// `None` if the pattern has characters that no image name has.
    pub(super) fn parse(glob: &str) -> Option<Self> {
        let is_valid = |it: char| it.is_ascii_alphanumeric() || "-_:/*.[]".contains(it);
        if glob.is_empty() || !glob.chars().all(is_valid) {
            return None;
        }
        let pattern: String = glob
            .split("**")
            .map(|part| {
                let parts: Vec<_> = part.split('*').map(regex::escape).collect();
                parts.join("[^/]*")
            })
            .collect::<Vec<_>>()
            .join(".*");
        Regex::new(&format!("^(?:{pattern})$")).ok().map(Self)
    }

    /// Whether the pattern matches the image's name: with tag and digest, with the tag only, or
    /// without both. policy-controller matches the full name only; a policy that covers more
    /// names refuses more.
    pub(super) fn matches(&self, image: &Reference) -> bool {
        let repository = match &image.host {
            Some(host) => format!("{host}/{}", image.repository),
            None => image.repository.clone(),
        };
        let tagged = format!("{repository}:{}", image.tag());
        [image.to_string(), tagged, repository]
            .iter()
            .any(|name| self.0.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glob_matches_the_name_with_or_without_tag_and_digest() {
        let pinned = format!("registry.example/shop/ui@sha256:{}", "ab".repeat(32));
        for (glob, image, expected) in [
            ("**", "ui", true),
            ("**", "registry.example:5000/a/b/c:v1", true),
            ("**", pinned.as_str(), true),
            ("*", "ui:v1", true),
            ("*", "shop/ui:v1", false),
            ("shop/*", "shop/ui:v1", true),
            ("shop/*", "shop/a/ui:v1", false),
            ("shop/**", "shop/a/ui:v1", true),
            ("shop/ui", "shop/ui:v1", true),
            ("shop/ui:v1", "shop/ui:v1", true),
            ("shop/ui:v1", "shop/ui:v2", false),
            ("shop/ui:latest", "shop/ui", true),
            ("registry.example/shop/ui", pinned.as_str(), true),
            ("registry.example/shop/*", pinned.as_str(), true),
            ("registry.example/**", "registryXexample/shop/ui:v1", false),
            ("registry.example/**", "shop/registry.example/ui", false),
            ("localhost:5000/*/ui:**", "localhost:5000/shop/ui:v1", true),
            ("[::1]:5000/**", "[::1]:5000/shop/ui", true),
            ("ui", "shop/ui", false),
        ] {
            let reference = Reference::parse(image).expect(image);
            let glob = Glob::parse(glob).expect(glob);
            assert_eq!(glob.matches(&reference), expected, "{glob:?} {image}");
        }
    }

    #[test]
    fn pattern_with_other_characters_is_rejected() {
        for bad in ["", "shop/(ui|web)", "shop ui", "^shop", "shop/ui$", "a?"] {
            assert!(Glob::parse(bad).is_none(), "{bad}");
        }
    }
}
