//! Telemetry for operators: health, metrics, access log, traces; and no secrets in any of
//! them.

mod counts;
mod exposition;

use crate::support::{Galleria, Host, Service, eventually, manifests};

fn start(manifest: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifest).expect("a file");
    Galleria::run(file).start()
}

#[test]
fn one_page_request_is_one_trace_across_all_hops() {
    let host = Galleria::shop().start();
    assert_eq!(host.get("/ui/product/1").status, 200);
    let at_edge = host.call("the edge's line", |call| call["path"] == "/ui/product/1");
    let trace = at_edge["trace_id"].as_str().expect("a trace id");
    assert_eq!(trace.len(), 32);
    let product = host.call("the storefront's call", |call| {
        call["trace_id"] == trace && call["source_workload"] == "shoppingportal/ui-v1"
    });
    assert_eq!(
        product["destination_workload"],
        "shoppingportal/productms-v1"
    );
    let review = host.call("the product service's call", |call| {
        call["trace_id"] == trace && call["source_workload"] == "shoppingportal/productms-v1"
    });
    assert!(
        review["upstream_cluster"].as_str().is_some_and(
            |cluster| cluster.contains("productreviewservice.shoppingportal.svc.cluster.local")
        ),
        "{review}"
    );
    assert_eq!(review["request_id"], at_edge["request_id"]);
}

#[test]
fn requests_are_counted_with_istios_labels_by_source_and_destination() {
    let host = Galleria::shop().start();
    for _ in 0..3 {
        assert_eq!(host.get("/productms/product/catalogue/1").status, 200);
    }
    let at_edge = [
        "destination_workload=\"productms-v1\"",
        "destination_service=\"productservice.shoppingportal.svc.cluster.local\"",
        "destination_service_name=\"productservice\"",
        "destination_version=\"v1\"",
        "destination_principal=\"spiffe://cluster.local/ns/shoppingportal/sa/productms-sa\"",
        "source_workload=\"unknown\"",
        "response_code=\"200\"",
        "response_flags=\"-\"",
    ];
    for reporter in ["reporter=\"source\"", "reporter=\"destination\""] {
        let labels: Vec<&str> = at_edge.iter().copied().chain([reporter]).collect();
        counted(&host, "istio_requests_total", &labels, 3.0);
    }
    let between = [
        "reporter=\"destination\"",
        "source_workload=\"productms-v1\"",
        "destination_service_name=\"productreviewservice\"",
        "connection_security_policy=\"mutual_tls\"",
    ];
    counted(&host, "istio_requests_total", &between, 3.0);
    counted(
        &host,
        "istio_request_duration_milliseconds_count",
        &between,
        3.0,
    );
    assert!(host.metric("galleria_instances", &["workload=\"ui-v1\""]) >= 1.0);
}

/// Waits for the count: a call is counted when its body has ended, which its client may
/// notice earlier.
#[track_caller]
fn counted(host: &Host, name: &str, labels: &[&str], count: f64) {
    eventually(&format!("{name} for {labels:?} is {count}"), || {
        (host.metric(name, labels) == count).then_some(())
    });
}

#[test]
fn probes_do_not_count_in_request_metrics() {
    let host = Galleria::shop().start();
    assert!(host.metric("galleria_probes_total", &["result=\"success\""]) >= 12.0);
    assert_eq!(host.metric("istio_requests_total", &[]), 0.0);
}

#[test]
fn status_port_serves_only_health_and_metrics() {
    let host = start(&manifests(&[Service::new("good", "hello")]));
    assert_eq!(host.status("/healthz/live").status, 200);
    assert_eq!(host.status("/healthz/ready").status, 200);
    let metrics = host.status("/stats/prometheus");
    assert!(
        metrics
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        metrics.body.contains("# TYPE galleria_instances gauge"),
        "{}",
        metrics.body
    );
    for path in ["/", "/quitquitquit", "/config_dump", "/status"] {
        assert_eq!(host.status(path).status, 404, "{path}");
    }
}

const SECRET: &str = "hunter2-k9x7-planted";

#[test]
fn secrets_appear_only_in_the_guest() {
    let manifest = manifests(&[Service::new("env", "env"), Service::new("bad", "trap")])
        + &format!(
            "---
apiVersion: v1
kind: Secret
metadata: {{name: keys, namespace: test}}
stringData: {{API_KEY: {SECRET}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: test}}
data: {{MODE: fast}}
"
        );
    let from = "env: [{name: API_KEY, valueFrom: {secretKeyRef: {name: keys, key: API_KEY}}}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: NONE, valueFrom: {configMapKeyRef: {name: nothing, key: x, optional: true}}}]
          envFrom: [{configMapRef: {name: settings}, prefix: S_}]";
    let host = start(&manifest.replace("env: []", from));
    let environment = host.get("/env/").json();
    assert_eq!(environment["API_KEY"], SECRET);
    assert_eq!(environment["S_MODE"], "fast");
    assert!(
        environment["POD"]
            .as_str()
            .is_some_and(|name| name.starts_with("env-"))
    );
    assert!(environment.get("NONE").is_none());
    assert_eq!(host.get("/env/?config=S_MODE").json()["value"], "fast");
    assert_eq!(host.get("/bad/").status, 503);
    let page = host.status_page(&[]).stdout + &host.status_page(&["-o", "json"]).stdout;
    let metrics = host.status("/metrics").body;
    host.call("the trap's line", |call| call["path"] == "/bad/");
    for (place, text) in [
        ("log", host.stderr()),
        ("lines", host.stdout()),
        ("status", page),
        ("metrics", metrics),
    ] {
        assert!(!text.contains(SECRET), "the secret is in the {place}");
    }
}

#[test]
fn access_log_is_readable_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("talker", "logger")])).expect("a file");
    let host = Galleria::run(&file)
        .argument("--access-log=readable")
        .start();
    host.get("/talker/hello");
    let out = eventually("both", || {
        let out = host.stdout();
        (out.contains("client → talker") && out.contains("talker critical")).then_some(out)
    });
    assert!(!out.contains('{'), "{out}");
    assert!(out.contains("200\x1b[0m"), "in colours: {out}");
}

#[test]
fn access_log_supports_envoys_text_format_and_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("good", "hello")])).expect("a file");
    let text = Galleria::run(&file).argument("--access-log=text").start();
    text.get_with("/good/", &[("user-agent", "a \"quoted\" agent")]);
    eventually("a line", || {
        let line = text.stdout();
        line.contains("\"GET /good/ HTTP/1.1\" 200 - via_upstream")
            .then_some(())
    });
    let off = Galleria::run(&file).argument("--access-log=off").start();
    off.get("/good/");
    assert_eq!(off.stdout(), "");
}
