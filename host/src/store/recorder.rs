//! Events about pods and workloads, kept for an hour as in a cluster.
//!
//! Repetitions with the same object and reason are one event with a count, so a guest that
//! traps a thousand times a second needs no more memory. The recorder does not write to the
//! store; the control loop does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use galleria_manifest::model::Object;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::{HostObject, uid, uid_of};

/// The maximum number of events.
const EVENTS_MAX: usize = 1_000;

/// How long an event is kept after its last occurrence, as in a cluster.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// The longest message, as in the API server.
const MESSAGE_MAX: usize = 1_024;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Recorder {
    events: Mutex<HashMap<(String, &'static str), EventRecord>>,
    /// How many were recorded.
    recorded: AtomicU64,
}

/// The object that an event is about (`involvedObject`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvolvedObject {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// The `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventType {
    Normal,
    Warning,
}

struct EventRecord {
    involved: Arc<InvolvedObject>,
    kind: EventType,
    reason: &'static str,
    /// The latest message.
    message: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Recorder {
    /// Records an event that happens now.
    pub(crate) fn record(
        &self,
        involved: &Arc<InvolvedObject>,
        kind: EventType,
        reason: &'static str,
        message: &str,
    ) {
        self.record_at(Timestamp::now(), involved, kind, reason, message);
    }

    fn record_at(
        &self,
        now: Timestamp,
        involved: &Arc<InvolvedObject>,
        kind: EventType,
        reason: &'static str,
        message: &str,
    ) {
        let message = cut(message, MESSAGE_MAX);
        let mut events = self.lock();
        self.recorded.fetch_add(1, Ordering::Relaxed);
        let key = (involved.uid.clone(), reason);
        if let Some(known) = events.get_mut(&key) {
            known.count += 1;
            known.last = now;
            known.message = message;
            return;
        }
        if events.len() >= EVENTS_MAX {
            let oldest = events.iter().min_by_key(|(_, event)| event.last);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                events.remove(&key);
            }
        }
        let event = EventRecord {
            involved: involved.clone(),
            kind,
            reason,
            message,
            count: 1,
            first: now,
            last: now,
        };
        events.insert(key, event);
    }

    /// Changes with every recorded event.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    /// The events as `v1` objects. Drops those that are too old.
    pub(crate) fn objects(&self) -> Vec<HostObject> {
        self.objects_at(Timestamp::now())
    }

    fn objects_at(&self, now: Timestamp) -> Vec<HostObject> {
        let mut events = self.lock();
        events.retain(|_, event| now.duration_since(event.last) < KEPT);
        events
            .iter()
            .map(|((uid, _), event)| HostObject::new(event.object(uid), Value::Null))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, &'static str), EventRecord>> {
        self.events.lock()
    }
}

impl InvolvedObject {
    pub(crate) fn of(object: &Object) -> Self {
        Self {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.value.clone(),
            uid: uid_of(object),
        }
    }

    /// The object of kind Node with this name, which has no namespace. Its events are in the
    /// namespace `default`, as in a cluster.
    pub(crate) fn node(name: &str) -> Self {
        Self {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: uid("Node", "", name),
        }
    }
}

impl EventRecord {
    fn object(&self, involved_uid: &str) -> Value {
        let InvolvedObject {
            api_version,
            kind,
            namespace,
            name,
            ..
        } = &*self.involved;
        let event = format!("{name}.{}", self.reason.to_ascii_lowercase());
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": event,
                "namespace": namespace,
                "uid": uid("Event", namespace, &event),
                "creationTimestamp": seconds(self.first),
            },
            "involvedObject": {
                "apiVersion": api_version,
                "kind": kind,
                "namespace": namespace,
                "name": name,
                "uid": involved_uid,
            },
            "reason": self.reason,
            "message": self.message,
            "type": match self.kind {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            },
            "count": self.count,
            "firstTimestamp": seconds(self.first),
            "lastTimestamp": seconds(self.last),
            "source": {"component": "galleria"},
            "reportingComponent": "galleria",
        })
    }
}

/// A time as in the API: RFC 3339, whole seconds, UTC.
pub(crate) fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}

/// At most `max` bytes of `text`: its beginning and its end, which usually contain the
/// problem and its cause. The middle is cut out.
pub(crate) fn cut(text: &str, max: usize) -> String {
    const MARK: &str = " … ";
    if text.len() <= max {
        return text.to_owned();
    }
    let half = (max - MARK.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    let (head, tail) = (text.get(..head), text.get(tail..));
    format!(
        "{}{MARK}{}",
        head.unwrap_or_default(),
        tail.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Arc<InvolvedObject> {
        Arc::new(InvolvedObject {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "test".into(),
            name: name.into(),
            uid: name.into(),
        })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn repeated_events_are_counted() {
        let recorder = Recorder::default();
        for second in 1..=3 {
            let message = format!("trap {second}");
            recorder.record_at(at(second), &pod("a"), EventType::Warning, "Error", &message);
        }
        recorder.record_at(at(4), &pod("b"), EventType::Warning, "Error", "another pod");
        recorder.record_at(at(5), &pod("a"), EventType::Normal, "Started", "again");
        let mut events: Vec<_> = recorder
            .objects_at(at(6))
            .iter()
            .map(|event| event.object.raw.clone())
            .collect();
        events.sort_by_key(|event| event["lastTimestamp"].to_string());
        assert_eq!(events.len(), 3);
        let event = &events[0];
        assert_eq!(
            (&event["count"], &event["message"]),
            (&json!(3), &json!("trap 3"))
        );
        assert_eq!(event["firstTimestamp"], "1970-01-01T00:00:01Z");
        assert_eq!(event["lastTimestamp"], "1970-01-01T00:00:03Z");
        assert_eq!(event["involvedObject"]["name"], "a");
        assert_eq!(event["type"], "Warning");
    }

    #[test]
    fn events_are_dropped_after_an_hour_and_beyond_a_thousand() {
        let recorder = Recorder::default();
        for second in 0..1_001 {
            let pod = pod(&format!("p{second}"));
            recorder.record_at(at(second), &pod, EventType::Normal, "Started", "");
        }
        let names = |now| -> Vec<String> {
            let objects = recorder.objects_at(at(now));
            let name = |event: &HostObject| event.object.metadata.name.value.clone();
            objects.iter().map(name).collect()
        };
        let kept = names(1_001);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert!(
            !kept.contains(&"p0.started".to_owned()),
            "the oldest is dropped"
        );
        assert_eq!(names(3_600 + 900).len(), 100);
        assert_eq!(names(3_600 + 1_000), Vec::<String>::new());
    }

    #[test]
    fn long_message_keeps_its_beginning_and_its_end() {
        let text = format!("begin {} end", "ü".repeat(5_000));
        let shown = cut(&text, 100);
        assert!(shown.len() <= 100, "{}", shown.len());
        assert!(shown.starts_with("begin") && shown.ends_with(" end"));
        assert_eq!(cut("short", 100), "short");
    }
}
