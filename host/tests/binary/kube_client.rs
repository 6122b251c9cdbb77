//! The admin API, called by a client library with the calls that informers, controllers
//! and operators use.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures::{SinkExt, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
    WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Galleria, Host, Service, kubeconfig, manifests};

/// A host whose namespace `test` has ConfigMaps from a file.
struct Maps {
    host: Host,
    file: PathBuf,
    count: usize,
    /// A further value in each map, which makes it larger.
    padding: String,
    _folder: tempfile::TempDir,
}

impl Maps {
    fn start(count: usize) -> Self {
        Self::padded(count, 0)
    }

    /// `count` maps, each padded by `bytes` bytes.
    fn padded(count: usize, bytes: usize) -> Self {
        let padding = "x".repeat(bytes);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("app.yaml"),
            manifests(&[Service::new("app", "hello")]),
        )
        .expect("a file");
        let file = folder.path().join("maps.yaml");
        std::fs::write(&file, yaml(count, 0, &padding)).expect("a file");
        Self {
            host: Galleria::run(folder.path()).start(),
            file,
            count,
            padding,
            _folder: folder,
        }
    }

    /// Changes the value of every map.
    fn write(&self, value: usize) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, yaml(self.count, value, &self.padding)).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
    }
}

fn yaml(count: usize, value: usize, padding: &str) -> String {
    let map = |number| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: map-{number:04}, namespace: test}}\ndata: {{value: '{value}', padding: '{padding}'}}\n"
        )
    };
    (0..count).map(map).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn client(host: &Host) -> Client {
    client_with(host, &[]).await
}

/// A client with the kubeconfig of these arguments.
async fn client_with(host: &Host, arguments: &[&str]) -> Client {
    let path = kubeconfig(host, arguments);
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

fn value(map: &ConfigMap) -> usize {
    let data = map.data.as_ref().expect("data");
    data["value"].parse().expect("a number")
}

#[test]
fn objects_are_written_read_and_rejected_through_typed_calls() {
    let maps = Maps::start(0);
    runtime().block_on(async {
        let client = client(&maps.host).await;
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), "test");
        let wanted: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "own", "labels": {"made-by": "test"}},
            "data": {"value": "1"},
        }))
        .expect("a ConfigMap");
        let created = api
            .create(&PostParams::default(), &wanted)
            .await
            .expect("created");
        assert!(created.uid().is_some() && created.resource_version().is_some());
        let again = api.create(&PostParams::default(), &wanted).await;
        assert!(matches!(again, Err(kube::Error::Api(status)) if status.code == 409));

        // A write that conflicts with a newer version is rejected.
        let patch = Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "own"}, "data": {"color": "red"},
        }));
        let params = PatchParams::apply("test");
        let patched = api.patch("own", &params, &patch).await.expect("applied");
        assert_eq!(value(&patched), 1);
        let stale = api.replace("own", &PostParams::default(), &created).await;
        assert!(matches!(stale, Err(kube::Error::Api(status)) if status.code == 409));

        let other = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some("somebody-else".into()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let refused = api.delete("own", &other).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
        let by_label = ListParams::default().labels("made-by=test");
        let gone = api
            .delete_collection(&DeleteParams::default(), &by_label)
            .await;
        gone.expect("deleted");
        assert!(api.get_opt("own").await.expect("an answer").is_none());

        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "test");
        let scale = json!({"spec": {"replicas": 2}});
        let params = PatchParams::default();
        let scaled = deployments
            .patch_scale("app", &params, &Patch::Merge(scale))
            .await;
        assert_eq!(
            scaled.expect("scaled").spec.and_then(|spec| spec.replicas),
            Some(2)
        );
        let pods: Api<Pod> = Api::namespaced(client, "test");
        let name = pods.list(&ListParams::default()).await.expect("pods").items[0].name_any();
        pods.logs(&name, &LogParams::default()).await.expect("logs");
        let large: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": "labels",
                "labels": (0..1_000_000).map(|number| (format!("l{number}"), "x"))
                    .collect::<std::collections::BTreeMap<_, _>>(),
            },
        }))
        .expect("a ConfigMap");
        let refused = api.create(&PostParams::default(), &large).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 413));
    });
}

#[test]
fn thousand_objects_are_listed_in_pages_while_they_change() {
    let maps = Maps::start(1_000);
    runtime().block_on(async {
        let client = client(&maps.host).await;
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), "test");
        let changing: Api<ConfigMap> = Api::namespaced(client, "test");
        let changes = tokio::spawn(async move {
            let patch = json!({"data": {"value": "1"}});
            for number in (0..1_000).step_by(97) {
                let name = format!("map-{number:04}");
                let params = PatchParams::default();
                changing
                    .patch(&name, &params, &Patch::Merge(&patch))
                    .await
                    .expect("patched");
            }
        });
        let mut names = Vec::new();
        let mut params = ListParams::default().limit(50);
        loop {
            let page = api.list(&params).await.expect("a page");
            names.extend(page.items.iter().map(ResourceExt::name_any));
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => break,
            }
        }
        changes.await.expect("the changes");
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (1_000, 1_000));
    });
}

#[test]
fn watch_misses_none_of_ten_thousand_changes() {
    const ROUNDS: usize = 20;
    let maps = Maps::start(500);
    runtime().block_on(async {
        let api: Api<ConfigMap> = Api::namespaced(client(&maps.host).await, "test");
        let listed = api.list(&ListParams::default()).await.expect("a list");
        let version = listed.metadata.resource_version.expect("a version");
        let params = WatchParams::default().disable_bookmarks();
        let events = api.watch(&params, &version).await.expect("a watch");
        let mut events = pin!(events);
        let mut values = vec![0; maps.count];
        for round in 1..=ROUNDS {
            maps.write(round);
            for _ in 0..maps.count {
                let event = events.try_next().await.expect("an event").expect("no end");
                let WatchEvent::Modified(map) = event else {
                    panic!("{event:?}");
                };
                let number: usize = map.name_any()["map-".len()..].parse().expect("a number");
                assert_eq!(value(&map), round);
                assert_eq!(values[number], round - 1, "each change once and in order");
                values[number] = round;
            }
        }
        assert!(values.iter().all(|value| *value == ROUNDS));
    });
}

#[test]
fn hundred_watchers_see_every_change_while_one_does_not_read() {
    let maps = Maps::padded(400, 8_000);
    runtime().block_on(async {
        // It does not read: its pending events exceed what the connection buffers and the
        // host's history.
        let slow: Api<ConfigMap> = Api::namespaced(client(&maps.host).await, "test");
        let listed = slow.list(&ListParams::default()).await.expect("a list");
        let version = listed.metadata.resource_version.expect("a version");
        let params = WatchParams::default().disable_bookmarks().timeout(60);
        let unread = slow.watch(&params, &version).await.expect("a watch");

        let api: Api<ConfigMap> = Api::namespaced(client(&maps.host).await, "test");
        let named = params.clone().fields("metadata.name=map-0007");
        let (seen, mut received) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..100 {
            let events = api.watch(&named, &version).await.expect("a watch");
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut events = pin!(events);
                while let Some(event) = events.next().await {
                    let WatchEvent::Modified(map) = event.expect("an event") else {
                        continue;
                    };
                    seen.send(value(&map)).expect("somebody listens");
                }
            });
        }
        for round in 1..=8 {
            maps.write(round);
            for _ in 0..100 {
                assert_eq!(
                    received.recv().await,
                    Some(round),
                    "every watcher sees every change"
                );
            }
        }
        let mut unread = pin!(unread);
        let cut_off = async {
            let mut seen = 0;
            loop {
                match unread.next().await {
                    Some(Ok(WatchEvent::Error(status))) => return (seen, status.code),
                    Some(Ok(_)) => seen += 1,
                    other => panic!("{other:?}"),
                }
            }
        };
        let (seen, code) = cut_off.await;
        assert_eq!(code, 410);
        assert!(seen < 400 * 8, "{seen}");
    });
}

/// A host whose only pod echoes requests, and the pod's name.
async fn echo() -> (Host, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("echo", "echo")])).expect("a file");
    let host = Galleria::run(&file).start();
    let pods: Api<Pod> = Api::namespaced(client(&host).await, "test");
    let pods = pods.list(&ListParams::default()).await.expect("pods");
    let name = pods.items[0].name_any();
    (host, name)
}

#[test]
fn ports_are_forwarded_over_channels_of_a_websocket() {
    runtime().block_on(async {
        let (host, name) = echo().await;
        let pods: Api<Pod> = Api::namespaced(client(&host).await, "test");
        let mut forwarder = pods.portforward(&name, &[8080, 9]).await.expect("ports");
        let refused = forwarder.take_error(9).expect("its error").await;
        let refused = refused.expect("a message");
        assert!(refused.contains("declares no port 9"), "{refused}");
        let stream = TokioIo::new(forwarder.take_stream(8080).expect("a stream"));
        let (mut requests, connection) = http1::handshake(stream).await.expect("a connection");
        let connection = tokio::spawn(connection);
        let body = "x".repeat(300_000);
        for header in ["keep-alive", "close"] {
            let request = http::Request::post("/")
                .header("host", "echo")
                .header("connection", header)
                .body(body.clone())
                .expect("a request");
            requests.ready().await.expect("an open connection");
            let answer = requests.send_request(request).await.expect("an answer");
            let answer = answer.into_body().collect().await.expect("a body");
            assert_eq!(answer.to_bytes(), body.as_bytes(), "{header}");
        }
        // Both connections have ended, so the host closes the WebSocket.
        let closed = tokio::time::timeout(Duration::from_secs(10), connection);
        let closed = closed.await.expect("the end").expect("no panic");
        closed.expect("no failure");
    });
}

#[test]
fn forwarding_needs_the_full_token_and_ports_in_the_query() {
    runtime().block_on(async {
        let (host, name) = echo().await;
        let path = format!("/api/v1/namespaces/test/pods/{name}/portforward");
        let connect = async |client: &Client, query: &str| {
            let request = http::Request::get(format!("{path}{query}")).body(Vec::new());
            match client.connect(request.expect("a request")).await {
                Err(kube::Error::Api(status)) => status.code,
                Err(error) => panic!("{error}"),
                Ok(_) => 101,
            }
        };
        let full = client(&host).await;
        assert_eq!(connect(&full, "?ports=8080").await, 101);
        assert_eq!(connect(&full, "").await, 400);
        assert_eq!(connect(&full, "?ports=http").await, 400);
        let read_only = client_with(&host, &["--read-only"]).await;
        assert_eq!(connect(&read_only, "?ports=8080").await, 403);
    });
}

#[test]
fn malformed_messages_close_the_websocket() {
    runtime().block_on(async {
        let (host, name) = echo().await;
        let client = client(&host).await;
        let path = format!("/api/v1/namespaces/test/pods/{name}/portforward?ports=8080");
        for (case, message) in [
            ("too large", Message::binary(vec![0; 2 << 20])),
            ("no channel", Message::binary(Vec::new())),
            ("an unknown channel", Message::binary(vec![2, 0])),
            ("text", Message::text("\0GET")),
        ] {
            let request = http::Request::get(&path).body(Vec::new());
            let connection = client.connect(request.expect("a request")).await;
            let mut socket = connection.expect("an upgrade").into_stream();
            // Fails if the host closes the connection while it is sent.
            let _ = socket.send(message).await;
            let end = async { while let Some(Ok(_)) = socket.next().await {} };
            let end = tokio::time::timeout(Duration::from_secs(10), end);
            assert!(end.await.is_ok(), "{case}");
        }
    });
}
