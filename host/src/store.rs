//! The objects that describe a running host, as a cluster's API server has them.
//!
//! One store, several sources: a source writes the objects it owns, everything
//! else lists and watches. Every write gets the next resource version; a status
//! is reported beside an object and is a write too. Nothing here decides what
//! an object means.

mod api_object;
mod recorder;
mod reported;

pub(crate) use api_object::{ReadObject, is_place, place, read_object};
pub(crate) use recorder::{EventType, Involved, Recorder, cut, seconds};
pub(crate) use reported::{Reported, fresh_uid, owner_of, uid, uid_of};

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) mod immutable;

/// Past events kept for watchers that fall behind; one that is further behind
/// has to list again.
const EVENTS_MAX: usize = 1_000;

/// Who an object belongs to: an object is replaced or removed by its owner only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Files,
    /// The admin API.
    Api,
    /// The admin API, about an object of a file, which says something else.
    Drift,
    /// The host itself: what its controllers make for an object of another
    /// source, what it runs and what happens.
    Host,
}

/// One object as the store holds it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub object: Arc<Object>,
    pub source: Source,
    /// Version of the last write to this object, status included.
    pub resource_version: u64,
    /// Counts changes of the object itself, not of its status.
    pub generation: u64,
    /// When it came into this store.
    pub created: Timestamp,
    /// What the host reports, as in `kubectl get -o json`'s `status`.
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
    /// What it replaced: a watcher by labels has to be told what it lost.
    pub before: Option<Arc<Stored>>,
    pub stored: Arc<Stored>,
}

/// The watcher asked for events that are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("resource version {requested} is too old; the oldest kept is {oldest}")]
pub(crate) struct Expired {
    pub requested: u64,
    pub oldest: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// The version of the last write, for those who wait for the next.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<ObjectKey, Arc<Stored>>,
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

    /// A store whose versions are above those of hosts that ran before, so that
    /// nobody who knew an object then takes it for another one now: no host
    /// writes more often than once a millisecond all the time.
    pub(crate) fn of_this_run() -> Self {
        let now = Timestamp::now().as_millisecond();
        Self::after(u64::try_from(now).unwrap_or_default())
    }

    /// Makes `objects` the whole of what is not the host's own, in one step: what
    /// is new is added, what differs is replaced, what is gone is deleted.
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

    /// Makes `reported` the whole of the host's own objects of which `is_one`
    /// holds, in one step. What says the same as before is no write.
    pub(crate) fn report(&self, reported: Vec<Reported>, is_one: impl Fn(&Object) -> bool) {
        let mut inner = self.lock();
        let mut kept = HashSet::new();
        for Reported { object, status } in reported {
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

    /// Deletes one object, if it is there.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        let mut inner = self.lock();
        inner.delete_all(|known, _| known == key);
        self.version.send_replace(inner.version);
    }

    /// Reports `status` for an object; a status that says the same is no write.
    pub(crate) fn set_status(&self, key: &ObjectKey, status: Value) {
        let mut inner = self.lock();
        inner.set_status(key, status);
        self.version.send_replace(inner.version);
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<Stored>> {
        self.lock().objects.get(key).cloned()
    }

    /// Everything, ordered by key, and the version at which this is the truth.
    pub(crate) fn list(&self) -> (Vec<Arc<Stored>>, u64) {
        let inner = self.lock();
        (inner.objects.values().cloned().collect(), inner.version)
    }

    /// The events after `version`, oldest first.
    ///
    /// # Errors
    /// [`Expired`] when some of them are no longer kept.
    pub(crate) fn events_after(&self, version: u64) -> Result<Vec<Event>, Expired> {
        let inner = self.lock();
        let oldest = inner.version - inner.events.len() as u64;
        if version < oldest {
            return Err(Expired {
                requested: version,
                oldest,
            });
        }
        // Every watcher asks after every write: the known ones are skipped, not read.
        let known = |event: &Event| event.stored.resource_version <= version;
        let first = inner.events.partition_point(known);
        Ok(inner.events.range(first..).cloned().collect())
    }

    /// Tells of every write by its version.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Logs every change of an object, but not of its status, from now on.
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
        let Stored {
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
                let Stored {
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
        let stored = Stored {
            object,
            source,
            resource_version: 0,
            generation,
            created,
            status,
        };
        self.write(change, false, key, stored);
    }

    /// The same object read again: its place in the file may have moved, which
    /// messages need and nobody watches.
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
        let changed = Stored {
            status,
            ..Stored::clone(stored)
        };
        self.write(Change::Modified, true, key.clone(), changed);
    }

    fn delete_all(&mut self, gone: impl Fn(&ObjectKey, &Stored) -> bool) {
        let gone: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, stored)| gone(key, stored))
            .map(|(key, stored)| (key.clone(), Stored::clone(stored)))
            .collect();
        for (key, stored) in gone {
            self.write(Change::Deleted, false, key, stored);
        }
    }

    fn write(&mut self, change: Change, is_status: bool, key: ObjectKey, mut stored: Stored) {
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
mod tests {
    use super::*;

    fn files(objects: &[Arc<Object>]) -> impl Iterator<Item = (Source, &Arc<Object>)> {
        objects.iter().map(|object| (Source::Files, object))
    }

    fn objects(yaml: &str) -> Vec<Arc<Object>> {
        galleria_manifest::read_str("test.yaml".as_ref(), yaml).objects
    }

    const A: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}\n";
    const A_CHANGED: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '2'}\n";
    const B: &str = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";

    fn changes(store: &Store, after: u64) -> Vec<(Change, String)> {
        let events = store.events_after(after).expect("kept");
        events
            .into_iter()
            .map(|event| (event.change, event.key.name))
            .collect()
    }

    #[test]
    fn a_source_replaces_what_it_owns_in_one_step() {
        let store = Store::default();
        store.replace_all(files(&objects(&format!("{A}{B}"))));
        assert_eq!(
            changes(&store, 0),
            [(Change::Added, "a".into()), (Change::Added, "b".into())]
        );
        let (_, version) = store.list();
        store.replace_all(files(&objects(A_CHANGED)));
        let expected = [
            (Change::Modified, "a".into()),
            (Change::Deleted, "b".into()),
        ];
        assert_eq!(changes(&store, version), expected);
        let (stored, _) = store.list();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].generation, 2);
    }

    #[test]
    fn the_same_object_again_is_no_change() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let (_, version) = store.list();
        store.replace_all(files(&objects(&format!("# moved down\n{A}"))));
        assert_eq!(changes(&store, version), []);
        let (stored, _) = store.list();
        assert_eq!(stored[0].object.at.line, 2, "messages name the new place");
    }

    #[test]
    fn a_status_is_a_write_but_no_new_generation() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let key = objects(A)[0].key();
        store.set_status(&key, serde_json::json!({"ready": true}));
        let stored = store.get(&key).expect("there");
        assert_eq!((stored.resource_version, stored.generation), (2, 1));
        store.set_status(&key, serde_json::json!({"ready": true}));
        assert_eq!(store.list().1, 2, "the same status is no write");
        assert!(store.events_after(1).expect("kept")[0].is_status);
    }

    #[test]
    fn metadata_changes_are_writes_but_no_new_generation() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let labelled = A.replace("{name: a}", "{name: a, labels: {b: c}}");
        let labelled = objects(&labelled);
        store.replace_all([(Source::Drift, &labelled[0])]);
        let stored = store.get(&labelled[0].key()).expect("there");
        assert_eq!((stored.generation, stored.source), (1, Source::Drift));
        assert!(!store.events_after(1).expect("kept")[0].is_status);
    }

    #[test]
    fn what_the_host_reports_is_its_own_and_replaced_by_kind() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let reported = |kind: &str, name: &str, ready: bool| {
            let raw = serde_json::json!({
                "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n"},
            });
            Reported::new(raw, serde_json::json!({ "ready": ready }))
        };
        let is = |kind: &'static str| move |object: &Object| object.kind == kind;
        store.report(vec![reported("Pod", "p", false)], is("Pod"));
        store.report(vec![reported("Event", "e", true)], is("Event"));
        let (_, version) = store.list();
        store.report(vec![reported("Pod", "p", false)], is("Pod"));
        assert_eq!(changes(&store, version), [], "the same again is no write");
        store.report(vec![reported("Pod", "p", true)], is("Pod"));
        store.report(Vec::new(), is("Pod"));
        store.replace_all(files(&[]));
        let expected = [
            (Change::Modified, "p".into()),
            (Change::Deleted, "p".into()),
            (Change::Deleted, "a".into()),
        ];
        assert_eq!(changes(&store, version), expected);
        let (left, _) = store.list();
        assert_eq!(left.len(), 1, "the event stays");
        assert_eq!(left[0].to_json()["status"]["ready"], true);
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_must_list_again() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let key = objects(A)[0].key();
        for count in 0..EVENTS_MAX {
            store.set_status(&key, serde_json::json!({"count": count}));
        }
        assert_eq!(
            store.events_after(0).expect_err("too old"),
            Expired {
                requested: 0,
                oldest: 1
            }
        );
        assert_eq!(store.events_after(1).expect("kept").len(), EVENTS_MAX);
    }

    #[test]
    fn a_watcher_that_keeps_up_misses_none_of_ten_thousand_changes() {
        let store = Store::default();
        store.replace_all(files(&objects(A)));
        let key = objects(A)[0].key();
        let mut seen = vec![1];
        for count in 0..10_000 {
            store.set_status(&key, serde_json::json!({"count": count}));
            // As far behind as a watcher may be.
            if (count + 1) % EVENTS_MAX == 0 {
                let last = seen.last().copied().unwrap_or_default();
                let events = store.events_after(last).expect("kept");
                seen.extend(events.iter().map(|event| event.stored.resource_version));
            }
        }
        assert_eq!(seen, (1..=10_001).collect::<Vec<u64>>());
        assert!(store.events_after(10_001).expect("kept").is_empty());
        assert!(store.events_after(1).is_err(), "one that slept is told so");
    }
}
