//! Small requests to the admin API that cause much work: each is refused or answered
//! within limits, and the traffic is not affected.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::support::{Galleria, Host, Service, SetOnDrop, kubeconfig, manifests};

/// How much the host may grow at any time: objects of 3 MiB, plus the data derived from
/// them. Without limits, these requests would need gigabytes.
const GROWTH_MAX: u64 = 400 << 20;

/// The longest time for any of these responses: without limits they take minutes.
const ANSWER_MAX: Duration = Duration::from_secs(20);

const JSON_PATCH: &str = "application/json-patch+json";
const MAP: &str = "/api/v1/namespaces/test/configmaps/map";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/test/deployments/other";

/// A host with a ConfigMap and a Deployment created through the API, and `maps` further
/// maps of 10 kB.
fn start(maps: usize) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let mut yaml = manifests(&[Service::new("app", "hello")]);
    let padding = "x".repeat(10_000);
    for number in 0..maps {
        yaml += &format!(
            "---\napiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: map-{number}, namespace: test}}\ndata: {{value: {padding}}}\n"
        );
    }
    std::fs::write(folder.path().join("app.yaml"), yaml).expect("a file");
    Galleria::run(folder.path()).start()
}

async fn client(host: &Host) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig(host, &[])).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

async fn send(client: &Client, method: &str, path: &str, kind: &str, body: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", kind);
    let body = Body::from(body.as_bytes().to_vec());
    let answer = client.send(request.body(body).expect("a request"));
    answer.await.expect("an answer")
}

fn resident(host: &Host) -> u64 {
    let path = format!("/proc/{}/status", host.id());
    let status = std::fs::read_to_string(path).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number") << 10
}

/// Calls the service while `attack` runs: no request fails or takes long, and the host
/// does not grow beyond its limit.
#[track_caller]
fn while_neighbour_is_served(host: &Host, attack: impl FnOnce()) {
    let before = resident(host);
    let done = AtomicBool::new(false);
    let (mut times, largest) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let (mut times, mut largest) = (Vec::new(), 0);
            while !done.load(Ordering::Relaxed) || times.len() < 100 {
                let began = Instant::now();
                let answer = host.get("/app/");
                assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
                times.push(began.elapsed());
                largest = largest.max(resident(host));
            }
            (times, largest)
        });
        let ending = SetOnDrop(&done);
        attack();
        drop(ending);
        neighbour.join().expect("no failure")
    });
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    assert!(
        p99 < Duration::from_millis(500),
        "{p99:?} of {}",
        times.len()
    );
    let grown = largest.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the host grew by {} MiB", grown >> 20);
}

fn times(count: usize, operation: &Value) -> Vec<Value> {
    vec![operation.clone(); count]
}

/// Patches that double the depth of the object with every operation: each copies the
/// existing value below its own innermost level.
fn depth_doubles() -> Value {
    let mut patch = vec![json!({"op": "add", "path": "/data/a", "value": {}})];
    let mut levels = 1;
    while levels < 200_000 {
        let path = format!("/data/a{}/x", "/x".repeat(levels - 1));
        patch.push(json!({"op": "copy", "from": "/data/a", "path": path}));
        levels *= 2;
    }
    patch.into()
}

/// Method, path, media type, body, and the expected status.
#[expect(clippy::too_many_lines, reason = "a table")]
fn attacks() -> Vec<(&'static str, String, &'static str, String, u16)> {
    let copy = |n| json!({"op": "copy", "from": "/data", "path": format!("/data/x{n}")});
    let copies = (0..20).map(copy).collect();
    let long: Value = vec![0; 100_000].into();
    let mut shifts = vec![json!({"op": "add", "path": "/data/a", "value": long})];
    shifts.extend(times(
        9_000,
        &json!({"op": "add", "path": "/data/a/0", "value": 0}),
    ));
    let mut moves = vec![json!({"op": "add", "path": "/data/a", "value": long})];
    for _ in 0..2_500 {
        moves.push(json!({"op": "move", "from": "/data/a", "path": "/data/b"}));
        moves.push(json!({"op": "move", "from": "/data/b", "path": "/data/a"}));
    }
    let many = times(
        10_001,
        &json!({"op": "add", "path": "/data/a", "value": "1"}),
    );
    let env: Vec<_> = (0..60_000)
        .map(|n| json!({"name": format!("n{n}")}))
        .collect();
    let container = json!([{"name": "main", "env": env}]);
    let env = json!({"spec": {"template": {"spec": {"containers": container}}}});
    let leaves: Value = (0..50_000).map(|n| (format!("l{n}"), json!(1))).collect();
    let paths = json!({
        "metadata": {"name": "map"}, "data": {"x".repeat(1 << 20): leaves},
    });
    let aliases = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map}}\ndata:\n  a: &a {}\n  b: [{}]\n",
        "x".repeat(1 << 20),
        "*a,".repeat(100_000)
    );
    let patch = |operations: Vec<Value>| Value::from(operations).to_string();
    let path = |text: &str| text.to_owned();
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    let apply = "application/apply-patch+yaml";
    vec![
        ("PATCH", path(MAP), JSON_PATCH, patch(copies), 413),
        (
            "PATCH",
            path(MAP),
            JSON_PATCH,
            depth_doubles().to_string(),
            422,
        ),
        ("PATCH", path(MAP), JSON_PATCH, patch(shifts), 413),
        ("PATCH", path(MAP), JSON_PATCH, patch(moves), 413),
        ("PATCH", path(MAP), JSON_PATCH, patch(many), 413),
        ("PATCH", path(MAP), JSON_PATCH, "[".repeat(100_000), 400),
        ("PATCH", path(MAP), merge, "{\"a\":".repeat(100_000), 400),
        ("PATCH", path(DEPLOYMENT), strategic, env.to_string(), 413),
        (
            "PATCH",
            format!("{DEPLOYMENT}/scale"),
            merge,
            "[".repeat(100_000),
            400,
        ),
        ("PUT", path(MAP), "application/json", paths.to_string(), 413),
        (
            "PUT",
            path(MAP),
            "application/yaml",
            "[".repeat(100_000),
            400,
        ),
        ("PUT", path(MAP), "application/yaml", aliases.clone(), 400),
        (
            "PATCH",
            format!("{MAP}?fieldManager=a"),
            apply,
            aliases,
            400,
        ),
        (
            "PUT",
            path(MAP),
            "application/json",
            "x".repeat(4 << 20),
            413,
        ),
        (
            "PATCH",
            format!("{MAP}?fieldManager={}", "m".repeat(10_000)),
            merge,
            path("{}"),
            422,
        ),
    ]
}

#[test]
fn small_requests_that_cause_much_work_are_refused_while_traffic_is_served() {
    let host = start(0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = runtime.block_on(client(&host));
    let map = json!({"metadata": {"name": "map"}, "data": {"a": "x".repeat(1_000)}}).to_string();
    let other = json!({
        "metadata": {"name": "other"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "main", "image": "hello"}]},
            },
        },
    });
    let create = async |path: &str, body: &str| {
        let (collection, _) = path.rsplit_once('/').expect("a collection");
        let created = send(&client, "POST", collection, "application/json", body).await;
        assert_eq!(created.status(), 201);
    };
    runtime.block_on(create(MAP, &map));
    runtime.block_on(create(DEPLOYMENT, &other.to_string()));
    while_neighbour_is_served(&host, || {
        for (method, path, kind, body, status) in attacks() {
            let began = Instant::now();
            let answer = runtime.block_on(send(&client, method, &path, kind, &body));
            let start: String = body.chars().take(80).collect();
            assert_eq!(answer.status(), status, "{method} {kind} {start}");
            let took = began.elapsed();
            assert!(took < ANSWER_MAX, "{took:?}: {method} {kind} {start}");
        }
    });
    let map = runtime.block_on(async {
        let answer = send(&client, "GET", MAP, "application/json", "").await;
        let body = answer.into_body().collect().await.expect("a body");
        serde_json::from_slice::<Value>(&body.to_bytes()).expect("JSON")
    });
    assert_eq!(
        map["data"]["a"],
        "x".repeat(1_000),
        "the object is unchanged"
    );
}

#[test]
fn unread_watches_need_no_memory_of_their_own() {
    let host = start(300);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = runtime.block_on(client(&host));
    while_neighbour_is_served(&host, || {
        let unread: Vec<_> = (0..150)
            .map(|_| {
                let path = "/api/v1/configmaps?watch=1";
                runtime.block_on(send(&client, "GET", path, "application/json", ""))
            })
            .collect();
        assert!(unread.iter().all(|answer| answer.status() == 200));
    });
}
