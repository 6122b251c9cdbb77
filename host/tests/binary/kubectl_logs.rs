//! `kubectl logs`: the kept output of guests.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    Galleria, Host, Service, eventually, kubeconfig, kubectl, manifests, refused,
};

const JOB: &str = "---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: test}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: main, image: job-print, args: [one, two], env: [{name: A, value: b}]}
";

const CRASHES: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: crashes, namespace: test}
spec:
  containers:
    - name: main
      image: status
      ports: [{containerPort: 8080}]
      livenessProbe:
        {httpGet: {path: '/?code=500', port: 8080}, periodSeconds: 1, failureThreshold: 1}
";

fn run(yaml: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let service = Service::new("app", "stdio").env("STDIO_VALUE", "kept");
    let whole = format!("{}{yaml}", manifests(&[service]));
    std::fs::write(&file, whole).expect("a file");
    Galleria::run(&file)
        .argument("--restart-backoff-initial=100ms")
        .start()
}

fn logs(host: &Host, arguments: &[&str]) -> String {
    kubectl(host, &[&["logs", "-n", "test"], arguments].concat())
}

#[test]
fn lines_of_a_job_are_kept_after_it_has_ended() {
    let host = run(JOB);
    let wait = ["wait", "--for=condition=Complete", "job/once", "-n", "test"];
    kubectl(&host, &wait);
    let all = logs(&host, &["job/once"]);
    assert!(all.starts_with("args: [\"one\", \"two\"]\n"), "{all}");
    assert!(all.lines().count() > 1, "{all}");
    let last = logs(&host, &["job/once", "--tail=1"]);
    assert_eq!(Some(last.trim_end()), all.lines().last());
    let timed = logs(&host, &["job/once", "--timestamps", "--tail=1"]);
    let (time, text) = timed.trim_end().split_once(' ').expect("a time");
    assert_eq!(text, last.trim_end());
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(logs(&host, &["job/once", "--limit-bytes=4"]), "args");
    assert_eq!(
        logs(&host, &["job/once", "--since-time=2999-01-01T00:00:00Z"]),
        ""
    );
    let pods = kubectl(&host, &["get", "pods", "-n", "test", "-l", "job-name=once"]);
    assert!(pods.contains("0/1") && pods.contains("Completed"), "{pods}");
    kubectl(
        &host,
        &["describe", "pods", "-n", "test", "-l", "job-name=once"],
    );
}

#[test]
fn following_shows_lines_as_they_arrive() {
    let host = run("");
    host.get("/app/first");
    let mut follow = Command::new("kubectl")
        .env("KUBECONFIG", kubeconfig(&host, &[]))
        .env("HOME", &host.data)
        .args(["logs", "-f", "deploy/app", "-n", "test"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    let mut until = |text: &str| {
        let mut lines = lines.by_ref().map_while(Result::ok);
        assert!(lines.any(|line| line == text), "{text}");
    };
    until("out: /first");
    host.get("/app/second");
    until("out: /second");
    until("out: STDIO_VALUE=kept");
    // The stream ends when the pod does.
    kubectl(&host, &["delete", "deploy", "app", "-n", "test"]);
    assert!(
        lines
            .by_ref()
            .map_while(Result::ok)
            .all(|line| !line.is_empty())
    );
    assert!(follow.wait().expect("kubectl").success());
}

#[test]
fn output_of_the_previous_run_is_kept_and_unknown_containers_are_rejected() {
    let host = run(CRASHES);
    let no_other = refused(&host, &["logs", "crashes", "-c", "sidecar", "-n", "test"]);
    assert!(
        no_other.contains("sidecar is not valid for pod crashes"),
        "{no_other}"
    );
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    eventually("it was restarted", || {
        let count = kubectl(
            &host,
            &["get", "pod", "crashes", "-n", "test", "-o", restarts],
        );
        (count.parse::<u32>().ok()? > 0).then_some(())
    });
    // Neither run printed anything, but a previous run exists.
    logs(&host, &["crashes", "--previous"]);
    let none = refused(&host, &["logs", "deploy/app", "--previous", "-n", "test"]);
    assert!(
        none.contains("previous terminated container \"main\""),
        "{none}"
    );
    let nobody = refused(&host, &["logs", "nobody", "-n", "test"]);
    assert!(nobody.contains("pods \"nobody\" not found"), "{nobody}");
}

#[test]
fn top_endpoints_nodes_and_reviews_work_as_on_a_cluster() {
    let host = run("");
    host.get("/app/");
    let get = |arguments: &[&str]| kubectl(&host, &[&["get"], arguments].concat());
    let nodes = get(&["nodes"]);
    assert!(
        nodes.contains("galleria") && nodes.contains("Ready"),
        "{nodes}"
    );
    // The namespaces of every cluster, and that of the test.
    let accounts = get(&["sa", "-A", "-o", "name"]);
    assert_eq!(
        accounts.matches("serviceaccount/default").count(),
        5,
        "{accounts}"
    );
    let endpoints = get(&["endpoints", "app", "-n", "test"]);
    assert!(endpoints.contains(":8080"), "{endpoints}");
    let slices = get(&["endpointslices", "-n", "test", "-o", "json"]);
    let slices: Value = serde_json::from_str(&slices).expect("JSON");
    let endpoint = &slices["items"][0]["endpoints"][0];
    assert_eq!(endpoint["conditions"]["ready"], true);
    assert!(
        endpoint["targetRef"]["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("app-"))
    );
    for (top, text) in [("pods", "app-"), ("nodes", "galleria")] {
        let used = kubectl(&host, &["top", top, "-n", "test"]);
        assert!(used.contains(text) && used.contains("Mi"), "{used}");
    }
    assert_eq!(
        kubectl(&host, &["auth", "can-i", "delete", "pods"]),
        "yes\n"
    );
    for kind in [
        "node",
        "service",
        "endpoints",
        "namespace",
        "serviceaccount",
    ] {
        kubectl(&host, &["describe", kind, "-n", "test"]);
    }
    let shell = refused(&host, &["exec", "deploy/app", "-n", "test", "--", "sh"]);
    assert!(
        shell.contains("a WebAssembly guest has no shell"),
        "{shell}"
    );
}
