//! `watch`: the events of the store as they happen, one JSON document per line.
//!
//! A watcher has no buffer of its own: it reads the store's events when its client reads
//! more. A client that is behind the oldest stored event gets 410 and is disconnected. It
//! never delays anything else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use super::Api;
use super::failure::Failure;
use super::form::Form;
use super::kind::api_version;
use super::list::Options;
use super::path::Resource;
use super::selector::Selector;
use crate::store::{Change, Event, Store, StoredObject};

/// Without `timeoutSeconds` a watch ends after a random time between this and twice as
/// long, as in an API server.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// The longest timeout that a client can request.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The interval of bookmarks, for clients that request them.
const BOOKMARK: Duration = Duration::from_secs(60);

/// An event that the client has not read yet. Objects are rendered when they are read:
/// for a client that does not read, only references to stored objects are queued.
enum QueuedEvent {
    Object(&'static str, Arc<StoredObject>),
    Other(Value),
}

struct Watcher {
    resource: Resource,
    selector: Selector,
    form: Form,
    store: Arc<Store>,
    versions: watch::Receiver<u64>,
    /// The resource version of the last event that was handled.
    seen: u64,
    ready: VecDeque<QueuedEvent>,
    bookmarks: Option<Interval>,
    end: Instant,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

impl Api {
    /// The body of the response.
    ///
    /// # Errors
    /// A selector or version that does not parse, or too many watches.
    pub(super) fn watch(
        &self,
        resource: Resource,
        options: &Options,
        form: Form,
    ) -> Result<Body, Failure> {
        options.check_match()?;
        let selector = resource.selector(options)?;
        let slot = self.watches.clone().try_acquire_owned();
        let slot = slot.map_err(|_| Failure::TooManyRequests("too many watches"))?;
        // Subscribes before it reads, so that no change in between is missed.
        let mut versions = self.store.versions();
        versions.mark_changed();
        let initial = options.send_initial_events.is_set();
        let mut watcher = Watcher {
            selector,
            form,
            store: self.store.clone(),
            versions,
            seen: 0,
            ready: VecDeque::new(),
            bookmarks: options
                .allow_watch_bookmarks
                .is_set()
                .then(|| interval_at(Instant::now() + BOOKMARK, BOOKMARK)),
            end: Instant::now() + life(options.timeout_seconds),
            ended: false,
            resource,
            _slot: slot,
        };
        match options.resource_version.as_str() {
            "" | "0" => watcher.begin(initial),
            _ if initial => watcher.begin(true),
            version => watcher.resume(version)?,
        }
        let lines = stream::unfold(watcher, |mut watcher| async move {
            let line = watcher.next().await?;
            Some((Ok::<_, std::convert::Infallible>(line), watcher))
        });
        Ok(Body::from_stream(lines))
    }
}

fn life(requested: Option<u64>) -> Duration {
    match requested {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds).min(LIFE_MAX),
        _ => LIFE.mul_f64(rand::rng().random_range(1.0..2.0)),
    }
}

impl Watcher {
    /// Begins with all existing objects.
    fn begin(&mut self, announce_end: bool) {
        let (stored, version) = self.store.list();
        for stored in &stored {
            if self.resource.covers(&stored.object.key()) {
                let object = self.resource.shown(stored);
                if self.selector.matches(&object) {
                    self.push("ADDED", stored);
                }
            }
        }
        self.seen = version;
        if announce_end {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            self.bookmark(Some(annotations));
        }
    }

    fn resume(&mut self, version: &str) -> Result<(), Failure> {
        let bad = || Failure::BadRequest(format!("invalid resourceVersion `{version}`"));
        self.seen = version.parse().map_err(|_| bad())?;
        let (_, newest) = self.store.list();
        if self.seen > newest {
            return Err(Failure::Expired {
                requested: self.seen,
                oldest: newest,
            });
        }
        self.read();
        Ok(())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                let event = self.event(ready);
                return Some(Bytes::from(format!("{event}\n")));
            }
            if self.ended {
                return None;
            }
            let bookmark = async {
                match &mut self.bookmarks {
                    Some(bookmarks) => bookmarks.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.versions.changed() => {
                    self.ended = changed.is_err();
                    self.read();
                }
                _ = bookmark => self.bookmark(None),
                () = sleep_until(self.end) => return None,
            }
        }
    }

    /// Reads the new events of the store.
    fn read(&mut self) {
        match self.store.events_after(self.seen) {
            Ok(events) => {
                for event in &events {
                    self.seen = event.stored.resource_version;
                    self.add(event);
                }
            }
            Err(expired) => {
                let failure = Failure::Expired {
                    requested: expired.requested,
                    oldest: expired.oldest,
                };
                let event = json!({"type": "ERROR", "object": failure.status()});
                self.ready.push_back(QueuedEvent::Other(event));
                self.ended = true;
            }
        }
    }

    fn add(&mut self, event: &Event) {
        if !self.resource.covers(&event.key) {
            return;
        }
        let object = self.resource.shown(&event.stored);
        let matches = self.selector.matches(&object);
        let matched = event.before.as_ref().is_some_and(|before| {
            let before = self.resource.shown(before);
            self.selector.matches(&before)
        });
        let is_there = matches && event.change != Change::Deleted;
        match (matched, is_there) {
            (false, true) => self.push("ADDED", &event.stored),
            (true, true) => self.push("MODIFIED", &event.stored),
            (true, false) => self.push("DELETED", &event.stored),
            (false, false) => {}
        }
    }

    fn push(&mut self, kind: &'static str, stored: &Arc<StoredObject>) {
        self.ready
            .push_back(QueuedEvent::Object(kind, stored.clone()));
    }

    fn event(&self, ready: QueuedEvent) -> Value {
        match ready {
            QueuedEvent::Object(kind, stored) => {
                let object = self.resource.shown(&stored);
                let object = self.form.one(self.resource.kind, object);
                json!({"type": kind, "object": object})
            }
            QueuedEvent::Other(event) => event,
        }
    }

    /// Queues a bookmark: the current resource version, without a change.
    fn bookmark(&mut self, annotations: Option<Value>) {
        let mut object = json!({
            "kind": self.resource.kind.kind,
            "apiVersion": api_version(self.resource.kind.group, &self.resource.version),
            "metadata": {"resourceVersion": self.seen.to_string(), "creationTimestamp": null},
        });
        if let Some(annotations) = annotations {
            object["metadata"]["annotations"] = annotations;
        }
        let object = self.form.one(self.resource.kind, object);
        let event = json!({"type": "BOOKMARK", "object": object});
        self.ready.push_back(QueuedEvent::Other(event));
    }
}
