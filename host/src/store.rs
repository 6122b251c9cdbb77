//! The objects of a running host, as in the API server of a cluster.
//!
//! Each source writes the objects that it owns; everything else lists and watches. Every
//! write, including that of a status, gets the next resource version. Nothing here
//! interprets an object.

mod api_object;
mod host_object;
mod recorder;

pub(crate) use api_object::{ReadObject, is_place, place, read_object};
pub(crate) use host_object::{HostObject, fresh_uid, owner_of, uid, uid_of};
pub(crate) use recorder::{EventType, InvolvedObject, Recorder, cut, seconds};

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) mod immutable;

/// Past events that are kept for slow watchers. A watcher that is further behind has to
/// list again.
const EVENTS_MAX: usize = 1_000;

/// The owner of an object: only the owner replaces or deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Files,
    /// The admin API.
    Api,
    /// The admin API, for an object that a file declares differently.
    Drift,
    /// The host itself: objects of its controllers, pods, and events.
    Host,
}

/// An object in the store.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject {
    pub object: Arc<Object>,
    pub source: Source,
    /// The version of the last write of this object or of its status.
    pub resource_version: u64,
    /// Counts changes of the object itself, not of its status.
    pub generation: u64,
    /// When it was added to the store.
    pub created: Timestamp,
    /// The `status` in `kubectl get -o json`.
    pub status: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub change: Change,
    /// Only the status changed.
    pub is_status: bool,
    pub key: ObjectKey,
    /// The previous object: a watcher by labels must learn of an object it has lost.
    pub before: Option<Arc<StoredObject>>,
    pub stored: Arc<StoredObject>,
}

/// The requested events are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("resource version {requested} is too old; the oldest kept is {oldest}")]
pub(crate) struct ExpiredVersion {
    pub requested: u64,
    pub oldest: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// The version of the last write, for watchers.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<ObjectKey, Arc<StoredObject>>,
    version: u64,
    events: VecDeque<Event>,
}

impl Default for Store {
    fn default() -> Self {
        Self::after(0)
    }
}

impl Store {
    /// A store whose first write gets the version after `version`.
    pub(crate) fn after(version: u64) -> Self {
        let inner = Inner {
            version,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            version: watch::Sender::new(version),
        }
    }

    /// A store whose versions are higher than those of earlier runs, so that a client
    /// never confuses two versions of an object. They start at the current time in
    /// milliseconds, which is safe because no host writes once per millisecond for long.
    pub(crate) fn of_this_run() -> Self {
        let now = Timestamp::now().as_millisecond();
        Self::after(u64::try_from(now).unwrap_or_default())
    }

    /// Replaces all objects that are not the host's own by `objects`, in one step.
    /// Unchanged objects are not written.
    pub(crate) fn replace_all<'a>(
        &self,
        objects: impl IntoIterator<Item = (Source, &'a Arc<Object>)>,
    ) {
        let mut inner = self.lock();
        let mut kept = HashSet::new();
        for (source, object) in objects {
            let key = object.key();
            inner.put(source, key.clone(), object.clone());
            kept.insert(key);
        }
        inner.delete_all(|key, stored| stored.source != Source::Host && !kept.contains(key));
        self.version.send_replace(inner.version);
    }

    /// Replaces those of the host's own objects that satisfy `is_one` by `reported`, in
    /// one step. Unchanged objects are not written.
    pub(crate) fn report(&self, reported: Vec<HostObject>, is_one: impl Fn(&Object) -> bool) {
        let mut inner = self.lock();
        let mut kept = HashSet::new();
        for HostObject { object, status } in reported {
            let key = object.key();
            inner.put(Source::Host, key.clone(), object);
            inner.set_status(&key, status);
            kept.insert(key);
        }
        inner.delete_all(|key, stored| {
            stored.source == Source::Host && !kept.contains(key) && is_one(&stored.object)
        });
        self.version.send_replace(inner.version);
    }

    /// Adds or replaces one object.
    pub(crate) fn put(&self, source: Source, object: Arc<Object>) {
        let mut inner = self.lock();
        inner.put(source, object.key(), object);
        self.version.send_replace(inner.version);
    }

    /// Deletes one object if it exists.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        let mut inner = self.lock();
        inner.delete_all(|known, _| known == key);
        self.version.send_replace(inner.version);
    }

    /// Sets the status of an object. An unchanged status is not written.
    pub(crate) fn set_status(&self, key: &ObjectKey, status: Value) {
        let mut inner = self.lock();
        inner.set_status(key, status);
        self.version.send_replace(inner.version);
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<StoredObject>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects, ordered by key, and the version of this list.
    pub(crate) fn list(&self) -> (Vec<Arc<StoredObject>>, u64) {
        let inner = self.lock();
        (inner.objects.values().cloned().collect(), inner.version)
    }

    /// The events after `version`, oldest first.
    ///
    /// # Errors
    /// [`ExpiredVersion`] when some of them are no longer kept.
    pub(crate) fn events_after(&self, version: u64) -> Result<Vec<Event>, ExpiredVersion> {
        let inner = self.lock();
        let oldest = inner.version - inner.events.len() as u64;
        if version < oldest {
            return Err(ExpiredVersion {
                requested: version,
                oldest,
            });
        }
        // Every watcher calls this after every write: skip known events by binary search.
        let known = |event: &Event| event.stored.resource_version <= version;
        let first = inner.events.partition_point(known);
        Ok(inner.events.range(first..).cloned().collect())
    }

    /// Notifies of every write with its version.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Logs every change of an object from now on, except for its status.
    pub(crate) async fn log_changes(&self) {
        let mut version = self.version.subscribe();
        loop {
            let seen = *version.borrow_and_update();
            if version.changed().await.is_err() {
                return;
            }
            match self.events_after(seen) {
                Ok(events) => events.iter().for_each(Event::log),
                Err(error) => tracing::warn!(%error, "some changes of objects were not logged"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Event {
    fn log(&self) {
        let ObjectKey {
            kind,
            namespace,
            name,
            ..
        } = &self.key;
        let StoredObject {
            resource_version,
            generation,
            ..
        } = *self.stored;
        let what = match self.change {
            Change::Added => "added",
            Change::Modified if self.is_status => return,
            Change::Modified => "modified",
            Change::Deleted => "deleted",
        };
        tracing::debug!(kind, namespace, name, resource_version, generation, what);
    }
}

impl Inner {
    fn put(&mut self, source: Source, key: ObjectKey, object: Arc<Object>) {
        let (change, generation, created, status) = match self.objects.get(&key) {
            Some(known) if known.source == source && known.object.raw == object.raw => {
                return self.move_source(&key, object);
            }
            Some(known) => {
                let StoredObject {
                    created, status, ..
                } = &**known;
                let generation = known.generation_with(&object);
                (Change::Modified, generation, *created, status.clone())
            }
            None => {
                let now = Timestamp::now();
                (Change::Added, 1, now, Value::Null)
            }
        };
        let stored = StoredObject {
            object,
            source,
            resource_version: 0,
            generation,
            created,
            status,
        };
        self.write(change, false, key, stored);
    }

    /// Replaces an object that only has a new position in its file. Messages need the
    /// position; for watchers it is not a change.
    fn move_source(&mut self, key: &ObjectKey, object: Arc<Object>) {
        if let Some(stored) = self.objects.get_mut(key) {
            Arc::make_mut(stored).object = object;
        }
    }

    fn set_status(&mut self, key: &ObjectKey, status: Value) {
        let Some(stored) = self.objects.get(key) else {
            return;
        };
        if stored.status == status {
            return;
        }
        let changed = StoredObject {
            status,
            ..StoredObject::clone(stored)
        };
        self.write(Change::Modified, true, key.clone(), changed);
    }

    fn delete_all(&mut self, gone: impl Fn(&ObjectKey, &StoredObject) -> bool) {
        let gone: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, stored)| gone(key, stored))
            .map(|(key, stored)| (key.clone(), StoredObject::clone(stored)))
            .collect();
        for (key, stored) in gone {
            self.write(Change::Deleted, false, key, stored);
        }
    }

    fn write(&mut self, change: Change, is_status: bool, key: ObjectKey, mut stored: StoredObject) {
        self.version += 1;
        stored.resource_version = self.version;
        let stored = Arc::new(stored);
        let before = match change {
            Change::Deleted => self.objects.remove(&key),
            Change::Added | Change::Modified => self.objects.insert(key.clone(), stored.clone()),
        };
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            change,
            is_status,
            key,
            before,
            stored,
        });
    }
}

#[cfg(test)]
mod tests;
