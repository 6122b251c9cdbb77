//! Descriptors: the properties of a request by which it is limited.

use std::borrow::Cow;

use galleria_manifest::model::{HeaderMatcher, HeaderTextMatch, RateLimitAction};
use http::HeaderName;

use super::LimitedRequest;

/// Keys and values, in the order of the actions.
pub(super) type Descriptor = Vec<(String, String)>;

/// The descriptor that `actions` make of a request; `None` if one of them does not apply.
pub(super) fn of(actions: &[RateLimitAction], request: &LimitedRequest<'_>) -> Option<Descriptor> {
    let mut descriptor = Descriptor::new();
    for action in actions {
        match action {
            RateLimitAction::RequestHeader {
                name,
                key,
                skip_if_absent,
            } => match header(name, request) {
                Some(value) => descriptor.push((key.clone(), value.into_owned())),
                None if *skip_if_absent => {}
                None => return None,
            },
            RateLimitAction::RemoteAddress => {
                let address = request.remote_ip?.to_canonical();
                descriptor.push(("remote_address".to_owned(), address.to_string()));
            }
            RateLimitAction::GenericKey { key, value } => {
                descriptor.push((key.clone(), value.clone()));
            }
            RateLimitAction::HeaderValueMatch {
                key,
                value,
                expects_match,
                headers,
            } => {
                let matches = headers.iter().all(|header| holds(header, request));
                if matches != *expects_match {
                    return None;
                }
                descriptor.push((key.clone(), value.clone()));
            }
        }
    }
    (!descriptor.is_empty()).then_some(descriptor)
}

fn holds(matcher: &HeaderMatcher, request: &LimitedRequest<'_>) -> bool {
    let value = header(&matcher.name, request);
    let matches = match (&matcher.matches, &value) {
        (_, None) => false,
        (HeaderTextMatch::Present, Some(_)) => true,
        (HeaderTextMatch::Exact(text), Some(value)) => value == text,
        (HeaderTextMatch::Prefix(text), Some(value)) => value.starts_with(text.as_str()),
        (HeaderTextMatch::Suffix(text), Some(value)) => value.ends_with(text.as_str()),
        (HeaderTextMatch::Contains(text), Some(value)) => value.contains(text.as_str()),
        (HeaderTextMatch::Regex(regex), Some(value)) => regex.is_match(value),
    };
    matches != matcher.is_inverted
}

/// The value of a header, several joined by commas; `None` without one.
fn header<'r>(name: &str, request: &LimitedRequest<'r>) -> Option<Cow<'r, str>> {
    let head = &request.head;
    match name {
        ":authority" | "host" => return Some(head.authority.into()),
        ":method" => return Some(head.method.as_str().into()),
        ":scheme" => return Some(head.scheme.into()),
        ":path" => {
            return Some(match head.query {
                None => head.path.into(),
                Some(query) => format!("{}?{query}", head.path).into(),
            });
        }
        _ => {}
    }
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut values = head.headers.get_all(name).iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    let rest = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    Some(rest.fold(first, |joined, value| format!("{joined},{value}").into()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use regex::Regex;

    use super::*;
    use crate::RequestHead;

    fn text(actions: &[RateLimitAction]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-user", "me"), ("x-list", "a"), ("x-list", "b")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let request = LimitedRequest {
            head: RequestHead {
                method: &Method::GET,
                scheme: "http",
                authority: "shop.example",
                path: "/a",
                query: Some("b=c"),
                headers: &headers,
                source_ip: None,
            },
            port: 80,
            remote_ip: Some("198.51.100.7".parse().expect("an address")),
            route: None,
        };
        match of(actions, &request) {
            None => "-".to_owned(),
            Some(descriptor) => {
                let pairs = descriptor.iter();
                let pairs = pairs.map(|(key, value)| format!("{key}={value}"));
                pairs.collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn request_header(name: &str, skip_if_absent: bool) -> RateLimitAction {
        RateLimitAction::RequestHeader {
            name: name.to_owned(),
            key: "k".to_owned(),
            skip_if_absent,
        }
    }

    fn value_match(
        name: &str,
        matches: HeaderTextMatch,
        is_inverted: bool,
        expects_match: bool,
    ) -> RateLimitAction {
        RateLimitAction::HeaderValueMatch {
            key: "header_match".to_owned(),
            value: "v".to_owned(),
            expects_match,
            headers: vec![HeaderMatcher {
                name: name.to_owned(),
                matches,
                is_inverted,
            }],
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "the test is one table")]
    fn actions_make_descriptors() {
        use HeaderTextMatch::{Contains, Exact, Prefix, Present, Suffix};
        let generic = || RateLimitAction::GenericKey {
            key: "generic_key".into(),
            value: "all".into(),
        };
        let regex = |pattern: &str| {
            let regex = Regex::new(&format!("^(?:{pattern})$"));
            HeaderTextMatch::Regex(regex.expect("a pattern"))
        };
        let rows = [
            (vec![request_header("x-user", false)], "k=me"),
            (vec![request_header("x-list", false)], "k=a,b"),
            (vec![request_header(":path", false)], "k=/a?b=c"),
            (vec![request_header(":method", false)], "k=GET"),
            (vec![request_header(":authority", false)], "k=shop.example"),
            (vec![request_header("x-none", false)], "-"),
            (vec![request_header("x-none", true)], "-"),
            (vec![generic()], "generic_key=all"),
            (
                vec![generic(), request_header("x-none", true)],
                "generic_key=all",
            ),
            (vec![generic(), request_header("x-none", false)], "-"),
            (
                vec![RateLimitAction::RemoteAddress],
                "remote_address=198.51.100.7",
            ),
            (
                vec![generic(), RateLimitAction::RemoteAddress],
                "generic_key=all remote_address=198.51.100.7",
            ),
            (
                vec![value_match("x-user", Exact("me".into()), false, true)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", Exact("m".into()), false, true)],
                "-",
            ),
            (
                vec![value_match("x-user", Exact("m".into()), true, true)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", Exact("m".into()), false, false)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", Prefix("m".into()), false, true)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", Suffix("e".into()), false, true)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", Contains("m".into()), false, true)],
                "header_match=v",
            ),
            (
                vec![value_match("x-user", regex("m."), false, true)],
                "header_match=v",
            ),
            (vec![value_match("x-user", regex("m"), false, true)], "-"),
            (
                vec![value_match("x-user", Present, false, true)],
                "header_match=v",
            ),
            (vec![value_match("x-none", Present, false, true)], "-"),
            (
                vec![value_match("x-none", Present, true, true)],
                "header_match=v",
            ),
            (
                vec![value_match(":path", Prefix("/a".into()), false, true)],
                "header_match=v",
            ),
        ];
        for (actions, expected) in rows {
            assert_eq!(text(&actions), expected, "{actions:?}");
        }
    }
}
