//! Path normalisation, before any rule or policy sees the path.
//!
//! Policies compare paths as text, so all spellings of a path must become the same text
//! first. A path that cannot be normalised is refused.

use std::borrow::Cow;

use crate::LocalReply;

/// Envoy's BASE normalisation, which is Istio's default: `.` and `..` are resolved, `\`
/// becomes `/`, and escaped unreserved characters are decoded. Slashes are not merged, and
/// `%2f` stays. `raw` is a path without its query.
///
/// # Errors
/// 400 for a path that does not begin with `/` or contains a NUL, escaped or not. The `*`
/// of `OPTIONS *` is accepted.
pub fn normalise_path(raw: &str) -> Result<Cow<'_, str>, LocalReply> {
    if raw == "*" {
        return Ok(Cow::Borrowed(raw));
    }
    if !raw.starts_with(['/', '\\']) {
        return Err(refused());
    }
    if is_normal(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode(raw)?;
    Ok(Cow::Owned(resolve_dots(&decoded)))
}

fn refused() -> LocalReply {
    LocalReply::bad_request("path_normalization_failed")
}

/// Whether the path is normal already, which is the common case.
fn is_normal(raw: &str) -> bool {
    let plain = raw
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\'));
    plain && !raw.contains("/.")
}

/// Decodes escaped unreserved characters (RFC 3986, 2.3), keeps the other escapes, and
/// escapes the characters that are not allowed in a path.
fn decode(raw: &str) -> Result<String, LocalReply> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    // The position of a percent sign that does not begin an escape.
    let mut stray: Option<usize> = None;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, escaped(tail)) {
            (0, _) | (b'%', Some(0)) => return Err(refused()),
            (b'%', Some(value)) => {
                if is_unreserved(value) {
                    text.push(char::from(value));
                } else {
                    text.push('%');
                    text.extend(tail.iter().take(2).copied().map(char::from));
                }
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'%', None) => {
                stray = Some(text.len());
                text.push('%');
            }
            (b'\\', _) => text.push('/'),
            (byte, _) if byte.is_ascii_graphic() => text.push(char::from(*byte)),
            (byte, _) => text.push_str(&format!("%{byte:02X}")),
        }
        // Decoding must not turn it into an escape: `%%341` would become `%41`.
        if let Some(at) = stray
            && text.as_bytes().get(at + 1..).and_then(escaped).is_some()
        {
            text.replace_range(at..=at, "%25");
            stray = None;
        }
    }
    Ok(text)
}

/// The value of the two hexadecimal digits at the start.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let (high, low) = (digit(bytes.first()?)?, digit(bytes.get(1)?)?);
    Some(high * 16 + low)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, 5.2.4. Empty segments are kept: slashes are not merged.
fn resolve_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        ends_in_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    if ends_in_folder {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_normalised_as_envoy_does() {
        for (raw, expected) in [
            ("/", "/"),
            ("/ui", "/ui"),
            ("/ui/", "/ui/"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a\\b\\..\\c", "/a/c"),
            ("/%61dmin", "/admin"),
            ("/%2e%2e/admin", "/admin"),
            ("/a/%2E%2e/admin", "/admin"),
            ("/a%2fb", "/a%2fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("//a///b", "//a///b"),
            ("/%30", "/0"),
            ("/a%20b", "/a%20b"),
            ("/100%", "/100%"),
            ("/%%341", "/%2541"),
            ("/%2541", "/%2541"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/.well-known/x", "/.well-known/x"),
            ("*", "*"),
        ] {
            assert_eq!(normalise_path(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn a_nul_or_a_path_without_a_slash_is_refused() {
        for raw in ["/admin%00", "/admin\0", "", "admin", "http://x/"] {
            assert_eq!(normalise_path(raw).unwrap_err().status, 400, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn normalisation_is_idempotent(raw in "[/\\\\](\\PC|[%./\\\\0-9a-fA-F]){0,40}") {
            if let Ok(once) = normalise_path(&raw) {
                let twice = normalise_path(&once);
                prop_assert_eq!(twice.as_deref(), Ok(once.as_ref()));
            }
        }

        #[test]
        fn no_dot_segment_is_left(raw in "/([%./\\\\25eEfFaA]){0,40}") {
            if let Ok(path) = normalise_path(&raw) {
                let mut segments = path.split('/');
                prop_assert!(segments.all(|segment| segment != "." && segment != ".."), "{}", path);
                prop_assert!(!path.contains("/../") && path.starts_with('/'));
            }
        }

        #[test]
        fn no_escaped_unreserved_character_is_left(raw in "/([%0-9a-f./]){0,40}") {
            if let Ok(path) = normalise_path(&raw) {
                let escapes = path.as_bytes().windows(3).filter(|window| window[0] == b'%');
                for escape in escapes {
                    let value = escaped(&escape[1..]);
                    prop_assert!(value.is_none_or(|value| !is_unreserved(value)), "{}", path);
                }
            }
        }
    }
}
