//! Header operations of a route or a destination: `headers.request` and
//! `headers.response`.

use galleria_manifest::model;
use http::HeaderMap;
use http::header::{HOST, HeaderName, HeaderValue};

use super::substitution::{HeaderText, Message};

/// Headers are removed, then set, then added, as in Envoy.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderChanges {
    /// The value of `host` or `:authority` in `set`: it rewrites the authority.
    pub(crate) authority: Option<HeaderValue>,
    remove: Vec<HeaderName>,
    write: Vec<(Write, HeaderName, HeaderText)>,
}

/// In the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
            write: writes(Write::Set, &changes.set, !changes.is_literal)
                .chain(writes(Write::Add, &changes.add, !changes.is_literal))
                .collect(),
        }
    }

    /// Appends the operations of the only destination of a route, but not its authority. Envoy
    /// has one list for both, so that the destination neither removes nor replaces what the
    /// route adds.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.remove.append(&mut other.remove);
        self.write.append(&mut other.write);
        self.write.sort_by_key(|(write, _, _)| *write);
    }

    /// Whether a value depends on the message.
    pub(crate) fn substitutes(&self) -> bool {
        self.write.iter().any(|(_, _, text)| text.is_format())
    }

    /// Changes `headers`, which are those of `message`. Only changes with substitutions need
    /// the message ([`HeaderChanges::substitutes`]).
    pub(crate) fn apply(&self, headers: &mut HeaderMap, message: Option<&Message<'_>>) {
        for name in &self.remove {
            headers.remove(name);
        }
        // All values are those before the first header is written.
        let before = self.substitutes().then(|| headers.clone());
        for (write, name, text) in &self.write {
            let value = match &before {
                Some(before) => text.value(before, message),
                None => text.literal(),
            };
            let Some(value) = value else { continue };
            match write {
                Write::Set => drop(headers.insert(name, value)),
                Write::Add => drop(headers.append(name, value)),
            }
        }
    }
}

fn writes(
    write: Write,
    texts: &[(String, String)],
    substitutes: bool,
) -> impl Iterator<Item = (Write, HeaderName, HeaderText)> {
    let pairs = texts.iter().filter_map(move |(name, text)| {
        let text = HeaderText::new(text, substitutes)?;
        Some((name.parse::<HeaderName>().ok()?, text))
    });
    let pairs = pairs.filter(|(name, _)| *name != HOST);
    pairs.map(move |(name, text)| (write, name, text))
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
            is_literal: false,
        });
        let mut headers = HeaderMap::new();
        for name in ["a", "b", "c"] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static("old"),
            );
        }
        changes.apply(&mut headers, None);
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
    fn a_route_and_its_only_destination_are_one_list() {
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut changes = HeaderChanges::new(&model::HeaderChanges {
            set: vec![text("a", "route")],
            add: vec![text("a", "added"), text("b", "added")],
            ..Default::default()
        });
        changes.append(&mut HeaderChanges::new(&model::HeaderChanges {
            set: vec![text("a", "destination"), text("b", "destination")],
            add: vec![text("a", "too")],
            remove: vec!["b".into()],
            ..Default::default()
        }));
        let mut headers = HeaderMap::new();
        changes.apply(&mut headers, None);
        let values = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("a"), ["destination", "added", "too"]);
        assert_eq!(values("b"), ["destination", "added"]);
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
        changes.apply(&mut headers, None);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [HOST]);
    }
}
