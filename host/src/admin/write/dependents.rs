//! What ends together with an object: the objects that it owns, and those of a namespace.
//!
//! A cluster's garbage collector does this afterwards; here it is part of the same write. An
//! object with finalizers is only marked, by `deletionTimestamp`, and goes when a client
//! removes the last of them. Objects that the host made are left to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use jiff::Timestamp;
use serde_json::Value;

use super::form::remove;
use crate::admin::Api;
use crate::store::{Source, StoredObject, read_object, uid_of};
use crate::writes::Edit;

/// What happens to the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They go when the owner has gone.
    Background,
    /// They go even if the owner stays for its finalizers.
    Foreground,
    /// They stay, without the reference to the owner.
    Orphan,
}

/// See the module's documentation.
pub(super) struct Deletion<'a> {
    api: &'a Api,
    propagation: Propagation,
    all: Vec<Arc<StoredObject>>,
    /// The objects that name an owner, by its uid.
    owned: HashMap<String, Vec<Arc<StoredObject>>>,
    edits: BTreeMap<ObjectKey, Edit>,
    /// The uids of all objects.
    uids: HashSet<String>,
    /// The uids of the objects that go.
    gone: HashSet<String>,
}

impl<'a> Deletion<'a> {
    pub(super) fn new(api: &'a Api, propagation: Propagation) -> Self {
        let (all, _) = api.store.list();
        let mut owned = HashMap::<String, Vec<_>>::new();
        for stored in all.iter().filter(|it| it.source != Source::Host) {
            for owner in owners(&stored.object.raw) {
                let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
                owned.entry(uid).or_default().push(stored.clone());
            }
        }
        Self {
            api,
            propagation,
            uids: all.iter().map(|it| uid_of(&it.object)).collect(),
            all,
            owned,
            edits: BTreeMap::new(),
            gone: HashSet::new(),
        }
    }

    /// Deletes an object with what ends with it.
    pub(super) fn delete(&mut self, stored: &StoredObject) {
        let mut next = vec![Arc::new(stored.clone())];
        while let Some(stored) = next.pop() {
            let key = stored.object.key();
            if self.edits.get(&key).is_some_and(|edit| edit.to.is_none()) {
                continue;
            }
            let is_namespace = stored.object.kind == "Namespace";
            let name = &stored.object.metadata.name.value;
            if is_namespace {
                let within = self.all.iter().filter(|it| {
                    it.object.metadata.namespace == *name && it.source != Source::Host
                });
                for within in within.cloned().collect::<Vec<_>>() {
                    self.end(&within, &mut next);
                }
            }
            let holds = |edit: &Edit| edit.key.namespace == *name && edit.to.is_some();
            match is_namespace && self.edits.values().any(holds) {
                // It ends with the last of its objects.
                true => self.mark(&stored),
                false => self.end(&stored, &mut next),
            }
        }
    }

    /// Removes an object, or marks it if it has finalizers.
    fn end(&mut self, stored: &StoredObject, next: &mut Vec<Arc<StoredObject>>) {
        let uid = uid_of(&stored.object);
        let stays = has_finalizers(&stored.object.raw);
        match stays {
            true => self.mark(stored),
            false => self.edit(stored, None),
        }
        if stays && self.propagation != Propagation::Foreground {
            return;
        }
        self.gone.insert(uid.clone());
        for dependent in self.owned.remove(&uid).unwrap_or_default() {
            let owners = owners(&dependent.object.raw);
            let has_another = owners.iter().any(|it| self.is_there(it));
            match self.propagation == Propagation::Orphan || has_another {
                true => self.disown(&dependent, &uid),
                false => next.push(dependent),
            }
        }
    }

    /// Whether the owner that a reference names stays.
    fn is_there(&self, owner: &Value) -> bool {
        let uid = owner["uid"].as_str().unwrap_or_default();
        self.uids.contains(uid) && !self.gone.contains(uid)
    }

    fn mark(&mut self, stored: &StoredObject) {
        let mut raw = stored.object.raw.clone();
        if is_marked(&raw) {
            return;
        }
        raw["metadata"]["deletionTimestamp"] = format!("{:.0}", Timestamp::now()).into();
        raw["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        self.replace(stored, &raw);
    }

    /// Removes the reference to an owner.
    fn disown(&mut self, stored: &StoredObject, uid: &str) {
        let key = stored.object.key();
        let edited = self.edits.get(&key).and_then(|edit| edit.to.clone());
        let mut raw = edited.unwrap_or_else(|| stored.object.clone()).raw.clone();
        let metadata = &mut raw["metadata"];
        if let Some(owners) = metadata["ownerReferences"].as_array_mut() {
            owners.retain(|owner| owner["uid"] != uid);
            if owners.is_empty() {
                remove(metadata, "ownerReferences");
            }
        }
        self.replace(stored, &raw);
    }

    fn replace(&mut self, stored: &StoredObject, raw: &Value) {
        // An object that was valid is valid with other metadata.
        if let Ok(read) = read_object(&stored.object.key(), raw, &self.api.allowed) {
            self.edit(stored, Some(read.object));
        }
    }

    fn edit(&mut self, stored: &StoredObject, to: Option<Arc<Object>>) {
        let key = stored.object.key();
        let edit = Edit {
            key: key.clone(),
            from: Some(stored.object.clone()),
            to,
        };
        self.edits.insert(key, edit);
    }

    /// Whether the object is still there after the edits.
    pub(super) fn is_marked(&self, key: &ObjectKey) -> bool {
        self.edits.get(key).is_none_or(|edit| edit.to.is_some())
    }

    pub(super) fn edits(self) -> Vec<Edit> {
        self.edits.into_values().collect()
    }
}

impl Api {
    /// What ends when a client removes the last finalizer of a marked object: the object,
    /// and its namespace if that only waited for it.
    pub(super) fn ends(&self, stored: &StoredObject) -> Vec<Edit> {
        let mut deletion = Deletion::new(self, Propagation::Background);
        let mut raw = stored.object.raw.clone();
        remove(&mut raw["metadata"], "finalizers");
        let mut free = stored.clone();
        // Only its own finalizers have been removed.
        let without = Object {
            raw,
            ..Object::clone(&stored.object)
        };
        free.object = Arc::new(without);
        deletion.delete(&free);
        let namespace = &stored.object.metadata.namespace;
        let waits = |it: &&Arc<StoredObject>| {
            it.object.kind == "Namespace"
                && it.object.metadata.name.value == *namespace
                && is_marked(&it.object.raw)
        };
        let waiting = deletion.all.iter().find(waits).cloned();
        if let Some(waiting) = waiting {
            let rest = deletion.all.iter().any(|it| {
                it.source != Source::Host
                    && it.object.metadata.namespace == *namespace
                    && !deletion.edits.contains_key(&it.object.key())
            });
            if !rest && !has_finalizers(&waiting.object.raw) {
                deletion.edit(&waiting, None);
            }
        }
        let mut edits = deletion.edits();
        for edit in &mut edits {
            if edit.key == stored.object.key() {
                edit.from = Some(stored.object.clone());
            }
        }
        edits
    }
}

/// Whether a client has deleted the object, which waits for its finalizers.
pub(super) fn is_marked(raw: &Value) -> bool {
    !raw["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn has_finalizers(raw: &Value) -> bool {
    let finalizers = raw["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|it| !it.is_empty())
}

/// The references of an object to its owners.
pub(super) fn owners(raw: &Value) -> &[Value] {
    let owners = raw["metadata"]["ownerReferences"].as_array();
    owners.map_or(&[], Vec::as_slice)
}
