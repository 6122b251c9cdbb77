//! Header operations of a route or a destination: `headers.request` and
//! `headers.response`.

use galleria_manifest::model;
use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};

/// Headers are removed, then set, then added, as in Envoy.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderChanges {
    /// The value of `host` or `:authority` in `set`: it rewrites the authority.
    pub(crate) authority: Option<HeaderValue>,
    remove: Vec<HeaderName>,
    write: Vec<(Write, HeaderName, HeaderValue)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Set,
    Add,
}

impl HeaderChanges {
    /// Other pseudo-headers cannot be changed, and `host` cannot be removed, as in Envoy:
    /// these are left out.
    pub(crate) fn new(changes: &model::HeaderChanges) -> Self {
        let authority = changes
            .set
            .iter()
            .find(|(name, _)| name == ":authority" || name == "host");
        Self {
            authority: authority.and_then(|(_, value)| HeaderValue::from_str(value).ok()),
            remove: changes
                .remove
                .iter()
                .filter_map(|name| name.parse().ok())
                .filter(|name| *name != HOST)
                .collect(),
            write: writes(Write::Set, &changes.set)
                .chain(writes(Write::Add, &changes.add))
                .collect(),
        }
    }

    /// Appends the operations of the only destination of a route, but not its authority. Envoy
    /// has one list for both, so that the destination does not remove what the route adds.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.remove.append(&mut other.remove);
        self.write.append(&mut other.write);
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (write, name, value) in &self.write {
            match write {
                Write::Set => drop(headers.insert(name, value.clone())),
                Write::Add => drop(headers.append(name, value.clone())),
            }
        }
    }
}

fn writes(
    write: Write,
    texts: &[(String, String)],
) -> impl Iterator<Item = (Write, HeaderName, HeaderValue)> {
    let pairs = texts.iter().filter_map(|(name, value)| {
        let value = HeaderValue::from_str(value).ok()?;
        Some((name.parse::<HeaderName>().ok()?, value))
    });
    let pairs = pairs.filter(|(name, _)| *name != HOST);
    pairs.map(move |(name, value)| (write, name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_removed_then_set_then_added() {
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let changes = HeaderChanges::new(&model::HeaderChanges {
            set: vec![text("a", "set"), text("host", "other.example")],
            add: vec![text("a", "added"), text("b", "added")],
            remove: vec!["b".into(), "c".into()],
        });
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "c"] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static("old"),
            );
        }
        changes.apply(&mut headers);
        let values = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("a"), ["set", "added"]);
        assert_eq!(values("b"), ["added"]);
        assert!(values("c").is_empty());
        assert!(values("host").is_empty());
        assert_eq!(
            changes.authority,
            Some(HeaderValue::from_static("other.example"))
        );
    }

    #[test]
    fn host_cannot_be_removed() {
        let changes = HeaderChanges::new(&model::HeaderChanges {
            remove: vec!["host".into(), "a".into()],
            ..Default::default()
        });
        let value = HeaderValue::from_static("shop");
        let names = ["host", "a"].map(HeaderName::from_static);
        let mut headers: HeaderMap = names.into_iter().map(|it| (it, value.clone())).collect();
        changes.apply(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [HOST]);
    }
}
