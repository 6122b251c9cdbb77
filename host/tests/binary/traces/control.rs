//! Traces of the control side: start, reloads, rollouts, writes, Jobs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use http::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{PARENT, TRACE};
use crate::support::{
    Collector, Galleria, Host, Service, SpanRecord, eventually, kubeconfig, manifests,
};

struct TracedHost {
    host: Host,
    collector: Collector,
    file: PathBuf,
    _folder: TempDir,
}

impl TracedHost {
    fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.yaml");
        std::fs::write(&file, yaml).expect("a file");
        let collector = Collector::grpc();
        let host = Galleria::run(folder.path()).exporting_to(&collector);
        Self {
            host: host.start(),
            collector,
            file,
            _folder: folder,
        }
    }

    fn write(&self, yaml: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, yaml).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    /// The first span `name` that `is_wanted`.
    fn span(&self, name: &str, is_wanted: impl Fn(&SpanRecord) -> bool) -> SpanRecord {
        eventually(&format!("a span `{name}` is exported"), || {
            let mut spans = self.collector.spans().into_iter();
            spans.find(|it| it.name == name && is_wanted(it))
        })
    }

    /// Waits until the trace of `root` has all `edges` below it; every span is one of
    /// the host.
    fn check_tree(&self, root: &SpanRecord, edges: &[(&str, &str)]) {
        let expected: BTreeSet<_> = edges.iter().map(|(a, b)| format!("{a} > {b}")).collect();
        let spans = self.collector.trace(&root.trace, |spans| {
            let found: BTreeSet<_> = spans.iter().filter_map(|it| edge(it, spans)).collect();
            found == expected
        });
        for span in &spans {
            assert_eq!((&*span.service, span.kind), ("galleria", 1), "{span:?}");
        }
    }
}

/// `PARENT > NAME`, if the parent is among `spans`.
fn edge(span: &SpanRecord, spans: &[SpanRecord]) -> Option<String> {
    let parent = spans.iter().find(|it| it.id == span.parent)?;
    Some(format!("{} > {}", parent.name, span.name))
}

fn result(span: &SpanRecord) -> Option<&str> {
    span.attributes.get("galleria.result").map(String::as_str)
}

fn app(version: &str) -> Service {
    Service::new("app", "env").env("VERSION", version)
}

#[test]
fn start_and_reload_are_trees_with_their_rollouts() {
    let traced = TracedHost::start(&manifests(&[app("one")]));
    let start = traced.span("start", |_| true);
    assert!(start.parent.is_empty() && !start.failed, "{start:?}");
    traced.check_tree(
        &start,
        &[
            ("start", "read"),
            ("start", "check"),
            ("start", "plan"),
            ("plan", "load component"),
            ("start", "compile"),
            ("start", "commit"),
            ("commit", "rollout"),
        ],
    );
    let load = traced.span("load component", |_| true);
    assert_eq!(load.attributes["container.image.name"], "env");

    traced.write(&manifests(&[app("two")]));
    let reload = traced.span("reload", |it| result(it) == Some("accepted"));
    assert_eq!(reload.attributes["galleria.source"], "manifests");
    assert!(reload.parent.is_empty(), "{reload:?}");
    traced.check_tree(
        &reload,
        &[
            ("reload", "read"),
            ("reload", "check"),
            ("reload", "plan"),
            ("reload", "compile"),
            ("reload", "commit"),
            ("commit", "rollout"),
        ],
    );
    let rollout = traced.span("rollout", |it| it.trace == reload.trace);
    assert_eq!(result(&rollout), Some("complete"));
    assert_eq!(rollout.attributes["k8s.deployment.name"], "app");
    assert!(!traced.host.stderr().contains("galleria::control"));
}

#[test]
fn rejected_reload_is_an_error_at_the_step_that_found_it() {
    let good = manifests(&[app("one")]);
    let traced = TracedHost::start(&good);
    let absent = good.replace("image: env\n", "image: absent\n");
    traced.write(&absent);
    let reload = traced.span("reload", |it| it.failed);
    assert_eq!(reload.attributes["error.type"], "InvalidPlan");
    assert!(reload.message.contains("absent"), "{reload:?}");
    let plan = traced.span("plan", |it| it.parent == reload.id);
    assert!(plan.failed, "{plan:?}");
    traced.check_tree(
        &reload,
        &[("reload", "read"), ("reload", "check"), ("reload", "plan")],
    );

    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: test}\n\
        data: {password: hunter2!!}\n";
    traced.write(&(good + secret));
    let read = traced.span("read", |it| it.failed);
    assert_eq!(read.attributes["error.type"], "InvalidObjects");
    traced.span("reload", |it| it.trace == read.trace && it.failed);
    let all = format!("{:?}", traced.collector.spans());
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn rollout_that_does_not_finish_ends_with_the_host() {
    let mut traced = TracedHost::start(&manifests(&[app("one")]));
    let probe = "{httpGet: {path: '/?code=500', port: 8080}, periodSeconds: 1}";
    let never_ready = Service::new("app", "status").probe("readinessProbe", probe);
    traced.write(&manifests(&[never_ready]));
    let reload = traced.span("reload", |it| result(it) == Some("accepted"));
    traced.host.terminate();
    assert!(traced.host.wait().success());
    let rollout = traced.span("rollout", |it| it.trace == reload.trace);
    assert_eq!(result(&rollout), Some("stopped"));
}

/// A client of the API whose requests belong to the trace [`TRACE`].
struct TracedClient {
    client: Client,
    runtime: Runtime,
}

impl TracedClient {
    fn of(host: &Host) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig(host, &[])).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            Client::try_from(config.expect("a configuration")).expect("a client")
        });
        Self { client, runtime }
    }

    /// The status of the answer.
    fn send(&self, method: &str, path: &str, body: &Value) -> u16 {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
            .body(Body::from(body.to_string().into_bytes()));
        let answer = self.client.send(request.expect("a request"));
        let answer = self.runtime.block_on(answer).expect("an answer");
        answer.status().as_u16()
    }
}

#[test]
fn writes_of_the_api_continue_the_trace_of_their_client() {
    let traced = TracedHost::start(&manifests(&[app("one")]));
    let client = TracedClient::of(&traced.host);
    let is_dry_run = |it: &SpanRecord| it.attributes.contains_key("galleria.dry_run");
    let maps = "/api/v1/namespaces/test/configmaps";
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "b"},
    });
    let status = client.send("POST", &format!("{maps}?dryRun=All"), &map);
    assert_eq!(status, 201);
    let dry_run = traced.span("write", is_dry_run);
    assert_eq!(dry_run.parent, PARENT);
    traced.check_tree(
        &dry_run,
        &[("write", "check"), ("write", "plan"), ("write", "compile")],
    );

    assert_eq!(client.send("POST", maps, &map), 201);
    let write = traced.span("write", |it| !is_dry_run(it));
    assert_eq!((&*write.trace, &*write.parent), (TRACE, PARENT));
    let expected = [
        ("galleria.writer", "api"),
        ("galleria.verb", "create"),
        ("galleria.object.kind", "ConfigMap"),
        ("k8s.namespace.name", "test"),
        ("galleria.object.name", "map"),
        ("galleria.result", "accepted"),
    ];
    for (name, value) in expected {
        assert_eq!(write.attributes[name], value, "{name}");
    }
    traced.span("commit", |it| it.parent == write.id);

    let deployment = "/apis/apps/v1/namespaces/test/deployments/app";
    let scale = json!({"spec": {"replicas": "many"}});
    assert_eq!(client.send("PATCH", deployment, &scale), 422);
    let refused = traced.span("write", |it| it.failed);
    assert_eq!(refused.attributes["error.type"], "Invalid");
    assert_eq!(refused.attributes["galleria.verb"], "patch");
    assert_eq!(refused.attributes["galleria.object.name"], "app");

    let template = json!({"metadata": {"annotations": {"restarted": "now"}}});
    let restart = json!({"spec": {"template": template}});
    assert_eq!(client.send("PATCH", deployment, &restart), 200);
    let rollout = traced.span("rollout", |it| it.trace == TRACE);
    assert_eq!(result(&rollout), Some("complete"));
}

fn job(name: &str, image: &str, argument: &str) -> String {
    format!(
        "---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: test}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {{name: main, image: {image}, args: [{argument}], resources: {{limits: {{memory: 64Mi}}}}}}
"
    )
}

#[test]
fn run_of_a_job_is_below_the_change_that_began_it() {
    let good = manifests(&[Service::new("app", "hello")]);
    let traced = TracedHost::start(&(good.clone() + &job("prints", "job-print", "")));
    let run = traced.span("job", |_| true);
    assert_eq!(run.attributes["k8s.job.name"], "prints");
    assert_eq!(result(&run), Some("complete"));
    let commit = traced.span("commit", |it| it.id == run.parent);
    traced.span("start", |it| it.id == commit.parent);
    let pod = traced.span("job pod", |it| it.parent == run.id);
    assert_eq!(pod.attributes["process.exit.code"], "0");
    assert!(pod.attributes["k8s.pod.name"].starts_with("prints-"));

    traced.write(&(good + &job("fails", "job-exit", "'3'")));
    let run = traced.span("job", |it| it.failed);
    assert_eq!(run.attributes["error.type"], "BackoffLimitExceeded");
    let pod = traced.span("job pod", |it| it.parent == run.id);
    assert_eq!(pod.attributes["process.exit.code"], "3");
    assert!(pod.failed && pod.message.contains("exit code 3"), "{pod:?}");
    let reload = traced.span("reload", |it| it.trace == run.trace);
    assert_eq!(result(&reload), Some("accepted"));
}
