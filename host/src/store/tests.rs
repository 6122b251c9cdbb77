//! Writes, versions and watches of the store.

use super::*;

fn files(objects: &[Arc<Object>]) -> impl Iterator<Item = (Source, &Arc<Object>)> {
    objects.iter().map(|object| (Source::Files, object))
}

fn objects(yaml: &str) -> Vec<Arc<Object>> {
    galleria_manifest::read_str("test.yaml".as_ref(), yaml).objects
}

const A: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}\n";
const A_CHANGED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '2'}\n";
const B: &str = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";

fn changes(store: &Store, after: u64) -> Vec<(Change, String)> {
    let events = store.events_after(after).expect("kept");
    events
        .into_iter()
        .map(|event| (event.change, event.key.name))
        .collect()
}

#[test]
fn source_replaces_its_objects_in_one_step() {
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
fn unchanged_object_is_not_written() {
    let store = Store::default();
    store.replace_all(files(&objects(A)));
    let (_, version) = store.list();
    store.replace_all(files(&objects(&format!("# moved down\n{A}"))));
    assert_eq!(changes(&store, version), []);
    let (stored, _) = store.list();
    assert_eq!(
        stored[0].object.at.line, 2,
        "messages name the new position"
    );
}

#[test]
fn status_is_a_write_but_not_a_new_generation() {
    let store = Store::default();
    store.replace_all(files(&objects(A)));
    let key = objects(A)[0].key();
    store.set_status(&key, serde_json::json!({"ready": true}));
    let stored = store.get(&key).expect("there");
    assert_eq!((stored.resource_version, stored.generation), (2, 1));
    store.set_status(&key, serde_json::json!({"ready": true}));
    assert_eq!(store.list().1, 2, "an unchanged status is not written");
    assert!(store.events_after(1).expect("kept")[0].is_status);
}

#[test]
fn change_of_metadata_is_a_write_but_not_a_new_generation() {
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
fn annotations_of_a_deployment_and_the_end_of_an_object_are_new_generations() {
    let raw = |kind: &str, metadata: Value| serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {}});
    let generation = |kind: &str, metadata: Value| {
        let plain = raw(kind, serde_json::json!({"name": "a"}));
        let before = HostObject::new(plain, Value::Null).object;
        let after = HostObject::new(raw(kind, metadata), Value::Null).object;
        let stored = StoredObject::unwritten(before, None);
        stored.generation_with(&after)
    };
    let annotated = serde_json::json!({"name": "a", "annotations": {"b": "c"}});
    assert_eq!(generation("Deployment", annotated.clone()), 2);
    assert_eq!(generation("ReplicaSet", annotated), 1);
    let marked = serde_json::json!({"name": "a", "deletionTimestamp": "2030-01-01T00:00:00Z"});
    assert_eq!(generation("ReplicaSet", marked), 2);
}

#[test]
fn reported_objects_are_the_hosts_own_and_replaced_by_kind() {
    let store = Store::default();
    store.replace_all(files(&objects(A)));
    let reported = |kind: &str, name: &str, ready: bool| {
        let raw = serde_json::json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "n"},
        });
        HostObject::new(raw, serde_json::json!({ "ready": ready }))
    };
    let is = |kind: &'static str| move |object: &Object| object.kind == kind;
    store.report(vec![reported("Pod", "p", false)], is("Pod"));
    store.report(vec![reported("Event", "e", true)], is("Event"));
    let (_, version) = store.list();
    store.report(vec![reported("Pod", "p", false)], is("Pod"));
    assert_eq!(
        changes(&store, version),
        [],
        "unchanged objects are not written"
    );
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
fn watcher_that_is_too_far_behind_must_list_again() {
    let store = Store::default();
    store.replace_all(files(&objects(A)));
    let key = objects(A)[0].key();
    for count in 0..EVENTS_MAX {
        store.set_status(&key, serde_json::json!({"count": count}));
    }
    assert_eq!(
        store.events_after(0).expect_err("too old"),
        ExpiredVersion {
            requested: 0,
            oldest: 1
        }
    );
    assert_eq!(store.events_after(1).expect("kept").len(), EVENTS_MAX);
}

#[test]
fn watcher_that_keeps_up_misses_none_of_ten_thousand_changes() {
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
    assert!(
        store.events_after(1).is_err(),
        "a watcher that slept gets an error"
    );
}
