//! Path templates: `{*}` matches one segment of a path, `{**}` any number of segments.

const ONE: &str = "{*}";
const ANY: &str = "{**}";

/// What is wrong with a path of a policy. A path without an operator is not a template.
pub(super) fn problem(path: &str) -> Option<String> {
    if !path.contains(ONE) && !path.contains(ANY) {
        return None;
    }
    if !path.starts_with('/') {
        return Some("is a path template, which begins with `/`".into());
    }
    let mut ended = false;
    for segment in path.trim_matches('/').split('/') {
        match segment {
            ONE | ANY if ended => {
                return Some("has an operator after `{**}`, which must be the last".into());
            }
            ANY => ended = true,
            ONE => {}
            _ if segment.is_empty() || !segment.bytes().all(is_literal) => {
                return Some(
                    "is not a path template; a segment is `{*}`, `{**}` or plain text without \
                     `*`, `{` and `}`"
                        .into(),
                );
            }
            _ => {}
        }
    }
    None
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}
