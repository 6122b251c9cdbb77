//! What a provider changes in a request that it allows, and in the response to it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};

/// The changes of one answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Headers of the request.
    pub request: Vec<HeaderMutation>,
    /// Headers that are removed from the request, after the others are set.
    pub removed: Vec<HeaderName>,
    /// Parameters that are set, as they are written in a URL.
    pub query_set: Vec<(String, String)>,
    pub query_removed: Vec<String>,
    /// Headers of the response.
    pub response: Vec<HeaderMutation>,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMutation {
    pub name: HeaderName,
    pub value: HeaderValue,
    pub change: HeaderChange,
}

/// How a header is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces the value.
    Set,
    /// Adds a value.
    Add,
    /// Appends to the value, if there is one.
    AppendIfPresent,
    AddIfAbsent,
    SetIfPresent,
}

impl Mutations {
    /// Changes the headers of a request.
    pub fn apply_headers(&self, headers: &mut HeaderMap) {
        apply_all(&self.request, headers);
        for name in self.removed.iter().filter(|name| is_mutable(name)) {
            headers.remove(name);
        }
    }

    /// Changes the headers of a response.
    pub fn apply_response(&self, headers: &mut HeaderMap) {
        apply_all(&self.response, headers);
    }

    /// Changes the query of a request. What cannot be written in a URL changes nothing.
    pub fn apply_query(&self, uri: &mut Uri) {
        if self.query_set.is_empty() && self.query_removed.is_empty() {
            return;
        }
        let name_of = |pair: &&str| pair.split('=').next().unwrap_or_default().to_owned();
        let is_kept = |pair: &&str| {
            let name = name_of(pair);
            let mut set = self.query_set.iter();
            !pair.is_empty() && !self.query_removed.contains(&name) && set.all(|it| it.0 != name)
        };
        let query = uri.query().unwrap_or_default();
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(is_kept)
            .map(str::to_owned)
            .collect();
        let set = self.query_set.iter();
        pairs.extend(set.map(|(name, value)| format!("{name}={value}")));
        let path = match pairs.is_empty() {
            true => uri.path().to_owned(),
            false => format!("{}?{}", uri.path(), pairs.join("&")),
        };
        let Ok(path) = path.parse::<PathAndQuery>() else {
            return;
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path);
        if let Ok(changed) = Uri::from_parts(parts) {
            *uri = changed;
        }
    }
}

fn apply_all(mutations: &[HeaderMutation], headers: &mut HeaderMap) {
    for mutation in mutations.iter().filter(|it| it.is_allowed()) {
        mutation.apply(headers);
    }
}

impl HeaderMutation {
    /// Replaces the value of a header.
    pub(crate) fn set(name: HeaderName, value: HeaderValue) -> Self {
        Self {
            name,
            value,
            change: HeaderChange::Set,
        }
    }

    /// Whether a provider may change this header.
    pub fn is_allowed(&self) -> bool {
        is_mutable(&self.name)
    }

    fn apply(&self, headers: &mut HeaderMap) {
        let Self {
            name,
            value,
            change,
        } = self;
        let is_present = headers.contains_key(name);
        match change {
            HeaderChange::Set => {
                headers.insert(name, value.clone());
            }
            HeaderChange::SetIfPresent if is_present => {
                headers.insert(name, value.clone());
            }
            HeaderChange::Add => {
                headers.append(name, value.clone());
            }
            HeaderChange::AddIfAbsent if !is_present => {
                headers.insert(name, value.clone());
            }
            HeaderChange::AppendIfPresent => {
                if let Some(before) = headers.get(name) {
                    let joined = [before.as_bytes(), b",", value.as_bytes()].concat();
                    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                        headers.insert(name, joined);
                    }
                }
            }
            HeaderChange::SetIfPresent | HeaderChange::AddIfAbsent => {}
        }
    }
}

/// Whether a provider may change the header: not those that say where a request goes and
/// where it ends.
pub(super) fn is_mutable(name: &HeaderName) -> bool {
    let framing = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
    ];
    let name = name.as_str();
    !framing.iter().any(|it| it == name)
        && name != "keep-alive"
        && name != "proxy-connection"
        && !name.starts_with("x-galleria-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header `a` after a change of it.
    fn changed(before: &[&'static str], change: HeaderChange) -> Vec<String> {
        let name = HeaderName::from_static("a");
        let mut headers = HeaderMap::new();
        for value in before {
            headers.append(&name, HeaderValue::from_static(value));
        }
        let mutations = Mutations {
            request: vec![HeaderMutation {
                name: name.clone(),
                value: HeaderValue::from_static("new"),
                change,
            }],
            ..Mutations::default()
        };
        mutations.apply_headers(&mut headers);
        let values = headers.get_all(&name).iter();
        values
            .map(|value| value.to_str().expect("text").to_owned())
            .collect()
    }

    #[test]
    fn headers_are_set_and_appended() {
        use HeaderChange::{Add, AddIfAbsent, AppendIfPresent, Set, SetIfPresent};
        let rows: [(&[&str], HeaderChange, &[&str]); 10] = [
            (&[], Set, &["new"]),
            (&["1", "2"], Set, &["new"]),
            (&[], Add, &["new"]),
            (&["1"], Add, &["1", "new"]),
            (&[], AppendIfPresent, &[]),
            (&["1"], AppendIfPresent, &["1,new"]),
            (&[], AddIfAbsent, &["new"]),
            (&["1"], AddIfAbsent, &["1"]),
            (&[], SetIfPresent, &[]),
            (&["1"], SetIfPresent, &["new"]),
        ];
        for (before, change, after) in rows {
            assert_eq!(changed(before, change), after, "{before:?} {change:?}");
        }
    }

    #[test]
    fn headers_of_the_transport_are_not_changed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("shop"));
        let mutations = Mutations {
            request: ["host", "content-length", "x-galleria-source", "x-user"]
                .map(|name| {
                    let value = HeaderValue::from_static("5");
                    HeaderMutation::set(HeaderName::from_static(name), value)
                })
                .into(),
            removed: vec![header::HOST],
            ..Mutations::default()
        };
        mutations.apply_headers(&mut headers);
        assert_eq!(headers[header::HOST], "shop");
        assert_eq!(headers["x-user"], "5");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn parameters_are_set_and_removed() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (uri, set, removed, expected) in [
            ("/a?b=1&c=2", vec![pair("b", "3")], vec![], "/a?c=2&b=3"),
            ("/a?b=1&c=2", vec![], vec!["b"], "/a?c=2"),
            ("/a?b=1", vec![], vec!["b"], "/a"),
            (
                "http://shop/a",
                vec![pair("b", "1")],
                vec![],
                "http://shop/a?b=1",
            ),
            // What is not valid in a URL changes nothing.
            ("/a?b=1", vec![pair("b", "a b\n")], vec![], "/a?b=1"),
        ] {
            let mut uri: Uri = uri.parse().expect("a URI");
            let mutations = Mutations {
                query_set: set,
                query_removed: removed.into_iter().map(str::to_owned).collect(),
                ..Mutations::default()
            };
            mutations.apply_query(&mut uri);
            assert_eq!(uri.to_string(), expected);
        }
    }
}
