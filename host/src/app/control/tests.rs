//! The control loop over a source in memory.

use galleria_manifest::model::ObjectKey;
use tempfile::TempDir;

use super::*;
use crate::app::testing::{self, MemorySource};
use crate::app::{Host, Telemetry, listeners};
use crate::listen::testing::{MemoryPorts, room};
use crate::store::{Source, read_object};
use crate::writes::{Command, Edit, WriteError, Writer};

/// A host without listeners whose control loop reads a [`MemorySource`].
struct Fixture {
    source: Arc<MemorySource>,
    control: Control,
    store: Arc<Store>,
    health: Arc<HostStatus>,
    writer: Writer,
    _data: TempDir,
}

impl Fixture {
    async fn new(yaml: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let cache = data.path().join("cache");
        let cache = cache.to_str().expect("a name");
        let settings = testing::settings(data.path(), &["--cache", cache]);
        let (telemetry, _) = Telemetry::start(&settings).expect("telemetry");
        let host = Host::new(&settings, telemetry, testing::engine(), std::io::sink());
        let host = host.expect("a host");
        let source = MemorySource::new(yaml);
        let api_store = Arc::new(
            ApiStore::open(data.path(), AllowUnenforced::default(), Arc::default())
                .expect("a store"),
        );
        let (writer, writes) = Writer::new();
        let listeners = listeners(&settings, room(), MemoryPorts::default());
        let mut control = host.control(&settings, listeners, source.clone(), api_store, writes);
        let layers = control.sources.iter();
        let layers = layers.map(|source| source.read().expect("readable").layer);
        let layers: Vec<_> = layers.collect();
        control.prepare(layers).await.expect("valid");
        Self {
            source,
            control,
            store: host.store.clone(),
            health: host.health.clone(),
            writer,
            _data: data,
        }
    }

    async fn reload(&mut self, yaml: Option<&str>) {
        self.source.set(yaml);
        self.control.reload(self.source.clone()).await;
    }

    /// The value of the ConfigMap, and its owner.
    fn value(&self) -> (String, Source) {
        value(&self.store).expect("a ConfigMap")
    }
}

fn key() -> ObjectKey {
    ObjectKey {
        group: String::new(),
        kind: "ConfigMap".into(),
        namespace: "default".into(),
        name: "a".into(),
    }
}

fn value(store: &Store) -> Option<(String, Source)> {
    let stored = store.get(&key())?;
    let value = stored.object.raw["data"]["k"].as_str()?;
    Some((value.to_owned(), stored.source))
}

fn yaml(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: {value}}}\n")
}

/// An edit of the ConfigMap, made from what the store has.
fn edit(store: &Store, value: &str) -> Edit {
    let raw = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value},
    });
    Edit {
        key: key(),
        from: store.get(&key()).map(|stored| stored.object.clone()),
        to: Some(
            read_object(&key(), &raw, &AllowUnenforced::default())
                .expect("valid")
                .object,
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_or_unreadable_source_keeps_the_previous_configuration() {
    let mut fixture = Fixture::new(&yaml("one")).await;
    assert_eq!(fixture.value(), ("one".into(), Source::Files));
    fixture.reload(Some(&yaml("two"))).await;
    assert_eq!(fixture.value(), ("two".into(), Source::Files));
    fixture.reload(Some(&yaml("[no, text]"))).await;
    assert_eq!(fixture.value(), ("two".into(), Source::Files));
    assert!(!fixture.health.is_accepted());
    fixture.reload(None).await;
    assert_eq!(fixture.value(), ("two".into(), Source::Files));
    fixture.reload(Some(&yaml("two"))).await;
    assert!(
        fixture.health.is_accepted(),
        "the same again is tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_by_the_api_holds_until_the_source_changes_the_object() {
    let mut fixture = Fixture::new(&yaml("one")).await;
    let stale = edit(&fixture.store, "stale");
    let edits = [edit(&fixture.store, "edited")];
    fixture.control.edit(&edits, true).await.expect("valid");
    assert_eq!(fixture.value(), ("one".into(), Source::Files), "a dry run");
    fixture.control.edit(&edits, false).await.expect("valid");
    assert_eq!(fixture.value(), ("edited".into(), Source::Drift));
    let conflict = fixture.control.edit(&[stale], false).await;
    assert!(matches!(conflict, Err(WriteError::Changed)));
    let mut equal = edit(&fixture.store, "again");
    let copy = equal.from.as_deref().cloned().map(Arc::new);
    equal.from = copy;
    let accepted = fixture.control.edit(&[equal], true).await;
    accepted.expect("the object was only read again");
    fixture.reload(Some(&yaml("one"))).await;
    assert_eq!(fixture.value(), ("edited".into(), Source::Drift));
    fixture.reload(Some(&yaml("two"))).await;
    assert_eq!(fixture.value(), ("two".into(), Source::Files));
    let contents = ObjectSource::read(&*fixture.control.api_store).expect("readable");
    assert!(
        matches!(contents.layer, Layer::Overrides(rows) if rows.is_empty()),
        "the override is deleted from the data folder"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn loop_follows_its_sources_and_its_writer() {
    let Fixture {
        source,
        mut control,
        store,
        writer,
        _data,
        ..
    } = Fixture::new(&yaml("one")).await;
    let changes = control.watch().expect("a watch");
    let mut versions = store.versions();
    let story = async {
        source.set(Some(&yaml("two")));
        let two = Some(("two".to_owned(), Source::Files));
        let changed = versions.wait_for(|_| value(&store) == two).await;
        changed.expect("the loop runs");
        let edits = vec![edit(&store, "edited")];
        let dry_run = false;
        let written = writer.send(Command::Edits { edits, dry_run }).await;
        written.expect("valid");
        assert_eq!(value(&store), Some(("edited".into(), Source::Drift)));
    };
    tokio::select! {
        ended = control.follow(changes, |_| Ok(())) => panic!("the loop ended: {ended:?}"),
        () = story => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_needs_no_pull_is_not_retried() {
    let mut fixture = Fixture::new(&yaml("one")).await;
    let unplannable = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - \
        {name: c, image: 'c:missing', imagePullPolicy: Never}\n";
    fixture.reload(Some(unplannable)).await;
    assert!(!fixture.health.is_accepted());
    let retried = fixture.control.planning.pulls.succeeded();
    let pause = Duration::from_millis(50);
    assert!(tokio::time::timeout(pause, retried).await.is_err());
}
