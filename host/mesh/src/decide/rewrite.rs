//! Rewrites of path and authority: `http[].rewrite`.

use std::borrow::Cow;

use galleria_manifest::model;
use http::header::HeaderValue;
use regex::Regex;

use super::condition::UriMatch;

#[derive(Debug, Clone, Default)]
pub(crate) struct Rewrite {
    uri: Option<UriRewrite>,
    pub(crate) authority: Option<HeaderValue>,
}

#[derive(Debug, Clone)]
enum UriRewrite {
    /// Replaces the part that the match covers: the prefix, or the whole path.
    Matched(String),
    /// Replaces every match of the pattern.
    Regex(Regex, String),
    /// Replaces the whole path.
    Whole(String),
}

impl Rewrite {
    pub(crate) fn new(rewrite: &model::Rewrite) -> Self {
        let regex = rewrite.uri_regex.as_ref().map(|regex| {
            UriRewrite::Regex(regex.regex.clone(), replacement_from_re2(&regex.rewrite))
        });
        Self {
            uri: regex.or_else(|| rewrite.uri.clone().map(UriRewrite::Matched)),
            authority: rewrite
                .authority
                .as_deref()
                .and_then(|authority| HeaderValue::from_str(authority).ok()),
        }
    }

    /// nginx's `rewrite-target`: replaces the whole path; `$1` is a group of the pattern of
    /// the rule's path.
    pub(crate) fn whole_path(target: &str, pattern: Option<&Regex>) -> Self {
        let uri = match pattern {
            Some(regex) => UriRewrite::Regex(regex.clone(), braced_groups(target)),
            None => UriRewrite::Whole(target.to_owned()),
        };
        Self {
            uri: Some(uri),
            authority: None,
        }
    }

    /// The new path, which always begins with a slash; `None` if the path does not change.
    pub(crate) fn path(&self, path: &str, matched: Option<&UriMatch>) -> Option<String> {
        let rewritten = match self.uri.as_ref()? {
            UriRewrite::Whole(target) => Cow::Borrowed(target.as_str()),
            UriRewrite::Regex(regex, target) => regex.replace_all(path, target.as_str()),
            UriRewrite::Matched(target) => replace_prefix(target, path, matched).into(),
        };
        Some(if rewritten.starts_with('/') {
            rewritten.into_owned()
        } else {
            format!("/{rewritten}")
        })
    }
}

/// `path` with the part that the match covers replaced by `target`. It begins with a slash.
pub(crate) fn replace_prefix(target: &str, path: &str, matched: Option<&UriMatch>) -> String {
    // A rule without a match on the path has the prefix `/` in Istio.
    let covered = matched.map_or(Some(1), UriMatch::matched_length);
    let rest = covered.and_then(|length| path.get(length..)).unwrap_or("");
    if target.starts_with('/') || rest.starts_with('/') {
        format!("{target}{rest}")
    } else {
        format!("/{target}{rest}")
    }
}

/// Translates a replacement of RE2 (`\1`) for the regex crate. `$` is literal.
fn replacement_from_re2(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => result.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    result.push_str("${");
                    result.push(digit);
                    result.push('}');
                }
                Some('$') => result.push_str("$$"),
                Some(other) => result.push(other),
                None => {}
            },
            other => result.push(other),
        }
    }
    result
}

/// Puts nginx's `$1` into braces, so that a letter after it is not part of the group's
/// name.
fn braced_groups(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek().copied()) {
            ('$', Some(digit)) if digit.is_ascii_digit() => {
                characters.next();
                result.push_str("${");
                result.push(digit);
                result.push('}');
            }
            ('$', _) => result.push_str("$$"),
            (other, _) => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(target: &str, path: &str, matched: Option<&UriMatch>) -> Option<String> {
        let uri = Some(UriRewrite::Matched(target.into()));
        Rewrite {
            uri,
            authority: None,
        }
        .path(path, matched)
    }

    #[test]
    fn a_prefix_is_replaced_as_text() {
        let prefix = UriMatch::Prefix("/foo".into());
        assert_eq!(
            rewrite("/v1", "/foo/bar", Some(&prefix)).as_deref(),
            Some("/v1/bar")
        );
        // This is a known pitfall of Istio.
        assert_eq!(
            rewrite("/", "/foo/bar", Some(&prefix)).as_deref(),
            Some("//bar")
        );
        assert_eq!(rewrite("", "/foo", Some(&prefix)).as_deref(), Some("/"));
    }

    #[test]
    fn an_exact_or_regex_match_replaces_the_whole_path() {
        let exact = UriMatch::Exact("/foo".into());
        assert_eq!(
            rewrite("/bar", "/foo", Some(&exact)).as_deref(),
            Some("/bar")
        );
        let regex = Regex::new("^/f.*$").expect("valid");
        let regex = UriMatch::Regex {
            pattern: "/f.*".into(),
            regex,
        };
        assert_eq!(
            rewrite("/bar", "/foo/x", Some(&regex)).as_deref(),
            Some("/bar")
        );
    }

    #[test]
    fn a_rule_without_uri_matches_the_root() {
        assert_eq!(rewrite("/v2/", "/foo", None).as_deref(), Some("/v2/foo"));
    }

    #[test]
    fn groups_are_translated_from_re2() {
        assert_eq!(replacement_from_re2(r"/\2/\1x$"), "/${2}/${1}x$$");
        let regex = Regex::new("^/service/([^/]+)(/.*)$").expect("valid");
        let uri = Some(UriRewrite::Regex(
            regex,
            replacement_from_re2(r"\2/instance/\1"),
        ));
        let rewrite = Rewrite {
            uri,
            authority: None,
        };
        let path = rewrite.path("/service/foo/v1/api", None);
        assert_eq!(path.as_deref(), Some("/v1/api/instance/foo"));
    }
}
