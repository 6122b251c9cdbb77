//! Reads a mapping field by field, and reports the fields that are left.

use super::{Decoder, did_you_mean, nearest};
use crate::Severity;
use crate::Unenforced;
use crate::codes;
use crate::yaml::{Entry, Mark, Node, Value};

/// The fields of a mapping. Take each, then call [`Fields::finish`].
pub(crate) struct Fields<'d, 'n> {
    pub(crate) d: &'d mut Decoder,
    pub(crate) mark: Mark,
    entries: &'n [Entry],
    taken: Vec<bool>,
    asked: Vec<&'static str>,
}

impl<'d, 'n> Fields<'d, 'n> {
    /// The fields of `node`; an error if it is not a mapping.
    pub(crate) fn of(d: &'d mut Decoder, node: &'n Node) -> Option<Self> {
        let Value::Mapping(entries) = &node.value else {
            let found = d.describe(node);
            d.error(
                node.mark,
                codes::WRONG_TYPE,
                format!("expected a mapping, found {found}"),
            );
            return None;
        };
        let taken = vec![false; entries.len()];
        Some(Self {
            d,
            mark: node.mark,
            entries,
            taken,
            asked: Vec::new(),
        })
    }

    /// The value of `name`; `null` counts as absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.take_with_key(name).map(|entry| &entry.value)
    }

    pub(crate) fn take_with_key(&mut self, name: &'static str) -> Option<&'n Entry> {
        self.asked.push(name);
        let index = self.entries.iter().position(|entry| entry.key == name)?;
        self.taken[index] = true;
        let entry = &self.entries[index];
        (!entry.value.is_null()).then_some(entry)
    }

    /// Whether the field is present, without taking it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == name && !entry.value.is_null())
    }

    /// As [`Fields::has`], but an empty list is as absent.
    pub(crate) fn has_entries(&self, name: &str) -> bool {
        let is_empty = |node: &Node| matches!(&node.value, Value::Sequence(it) if it.is_empty());
        self.has(name) && !self.get(name).is_some_and(is_empty)
    }

    /// The value of `name`, without taking it.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map(|entry| &entry.value)
    }

    /// The position of the field's key, or of the mapping if the field is absent.
    pub(crate) fn mark_of(&self, name: &str) -> Mark {
        self.entries
            .iter()
            .find(|entry| entry.key == name)
            .map_or(self.mark, |e| e.key_mark)
    }

    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Decoder, &'n Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(name)?;
        self.d.under(name, |d| read(d, node))
    }

    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Decoder, &'n Node) -> Option<T>,
    ) -> Option<T> {
        match self.take(name) {
            Some(node) => self.d.under(name, |d| read(d, node)),
            None => {
                self.missing(name);
                None
            }
        }
    }

    /// Reports at the path of `name` that it is required, with a field that may be a misspelling
    /// of it.
    pub(crate) fn missing(&mut self, name: &'static str) {
        let unknown = self
            .entries
            .iter()
            .zip(&self.taken)
            .filter(|(_, taken)| !**taken)
            .map(|(entry, _)| entry.key.as_str());
        let hint = match nearest(name, unknown) {
            Some(near) => {
                format!("the required field `{name}` is missing; is `{near}` a misspelling of it?")
            }
            None => format!("the required field `{name}` is missing"),
        };
        let mark = self.mark;
        self.d
            .under(name, |d| d.error(mark, codes::MISSING_FIELD, hint));
    }

    /// The entries of the list `name`; none if it is absent.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Decoder, &'n Node) -> Option<T>,
    ) -> Vec<T> {
        self.optional(name, |d, node| super::items(d, node, read))
            .unwrap_or_default()
    }

    /// As [`Fields::list`], but empty or absent is an error.
    pub(crate) fn required_list<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Decoder, &'n Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.required(name, |d, node| {
            let values = super::items(d, node, read)?;
            if matches!(&node.value, Value::Sequence(items) if items.is_empty()) {
                d.error(
                    node.mark,
                    codes::MISSING_FIELD,
                    format!("`{name}` must not be empty"),
                );
                return None;
            }
            Some(values)
        })
    }

    /// Reports an error at the position and path of the field `name`.
    pub(crate) fn error_at(&mut self, name: &'static str, code: crate::Code, message: String) {
        let mark = self.mark_of(name);
        self.d.under(name, |d| d.error(mark, code, message));
    }

    pub(crate) fn warn_at(&mut self, name: &'static str, code: crate::Code, message: String) {
        let mark = self.mark_of(name);
        self.d.under(name, |d| d.warning(mark, code, message));
    }

    /// Takes the field `name`, and reports that the host does not enforce what it restricts.
    pub(crate) fn unenforced(&mut self, name: &'static str, restriction: &'static str) {
        if self.take(name).is_none() {
            return;
        }
        let mark = self.mark_of(name);
        let what = "is not enforced by this host, and what it forbids is allowed";
        let restriction = Unenforced::new(restriction);
        self.d
            .under(name, |d| d.unenforced(mark, restriction, what));
    }

    /// Reads a field that the API has and the host does not act on. A cluster refuses a wrong
    /// value of it, and so does this.
    pub(crate) fn without_effect<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Decoder, &'n Node) -> Option<T>,
    ) -> Option<T> {
        if self.has(name) {
            let message = "is not supported by this host; it has no effect".to_owned();
            self.warn_at(name, codes::NOT_HONOURED, message);
        }
        self.optional(name, read)
    }

    /// Reports that a removed field is set, and its successor.
    pub(crate) fn deprecated(&mut self, name: &'static str, successor: &str) {
        let message = format!("removed from the current API but still supported; use {successor}");
        self.warn_at(name, codes::DEPRECATED, message);
    }

    /// Accepts fields without a message: only a cluster needs them, and a user cannot notice
    /// that they have no effect here.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Reports the fields that were not taken: those in `not_honoured` exist in the API, all
    /// others do not.
    pub(crate) fn finish(self, not_honoured: &[&str]) {
        self.finish_as(Severity::Warning, not_honoured);
    }

    /// As [`Fields::finish`], but a field that the API does not have is an error: without
    /// it the object would allow more than its author wrote.
    pub(crate) fn finish_strictly(self) {
        self.finish_as(Severity::Error, &[]);
    }

    fn finish_as(self, severity: Severity, not_honoured: &[&str]) {
        let Self {
            d,
            entries,
            taken,
            asked,
            ..
        } = self;
        for (entry, _) in entries.iter().zip(taken).filter(|(_, taken)| !taken) {
            let key = entry.key.as_str();
            let (code, message) = if not_honoured.contains(&key) {
                (
                    codes::NOT_HONOURED,
                    "is not supported by this host; it has no effect".to_owned(),
                )
            } else {
                let known = asked.iter().chain(not_honoured).copied();
                let hint = did_you_mean(key, known);
                let effect = match severity {
                    Severity::Error => "",
                    _ => ", it has no effect",
                };
                (codes::UNKNOWN_FIELD, format!("unknown field{effect}{hint}"))
            };
            d.under(entry.key.clone(), |d| {
                d.report(entry.key_mark, severity, code, message);
            });
        }
    }
}
