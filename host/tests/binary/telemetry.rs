//! Telemetry for operators: health, metrics, access log, traces; and no secrets in any of
//! them.

mod counts;
mod exposition;

use std::io::{Read, Write};
use std::net::TcpStream;

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
fn trace_of_the_client_is_continued() {
    let host = start(&manifests(&[Service::new("echo", "echo")]));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = host.get_with(
        "/echo/",
        &[("traceparent", parent), ("tracestate", "shop=1")],
    );
    let seen = answer
        .body
        .lines()
        .find_map(|line| line.contains("traceparent").then(|| line.to_owned()))
        .expect("the guest sees a traceparent");
    assert!(seen.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{seen}");
    assert!(
        !seen.contains("00f067aa0ba902b7"),
        "the guest has its own span: {seen}"
    );
    assert!(answer.body.contains("shop=1"));
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

#[test]
fn undeclared_destination_is_refused_with_a_hint() {
    let host = start(&manifests(&[Service::new("caller", "call")]));
    let answer = host.get("/caller/?url=http://api.example.com/orders");
    assert_eq!(answer.header("x-upstream-status"), "502", "{answer:?}");
    let call = host.call("the refused call", |call| {
        call["authority"] == "api.example.com"
    });
    assert_eq!(call["response_code"], 502);
    assert!(
        call["response_code_details"]
            .as_str()
            .is_some_and(|details| details.contains("ServiceEntry")),
        "{call}"
    );
}

#[test]
fn service_is_reachable_by_every_form_of_its_name() {
    let host = start(&manifests(&[
        Service::new("caller", "call"),
        Service::new("good", "hello"),
    ]));
    for name in [
        "good",
        "good.test",
        "good.test.svc",
        "good.test.svc.cluster.local",
        "GOOD",
        "good:80",
    ] {
        let answer = host.get(&format!("/caller/?url=http://{name}/"));
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello\n"),
            "{name}"
        );
    }
}

#[test]
fn request_without_a_matching_rule_is_404_nr() {
    let host = start(&manifests(&[Service::new("good", "hello")]));
    assert_eq!(host.get("/nowhere").status, 404);
    let call = host.call("its line", |call| call["path"] == "/nowhere");
    assert_eq!(call["response_flags"], "NR");
    counted(
        &host,
        "istio_requests_total",
        &["response_flags=\"NR\""],
        1.0,
    );
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
fn lines_of_a_guest_name_its_workload() {
    let host = start(&manifests(&[
        Service::new("talker", "stdio").env("STDIO_VALUE", "words")
    ]));
    assert_eq!(host.get("/talker/").status, 200);
    let line = eventually("the guest's line", || {
        host.stdout()
            .lines()
            .find(|line| line.contains("out: STDIO_VALUE=words"))
            .map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&line["namespace"], &line["workload"]),
        (&"test".into(), &"talker".into())
    );
    assert_eq!(line["stream"], "stdout");
}

#[test]
fn guest_log_lines_have_level_and_context_and_are_bounded() {
    let host = start(&manifests(&[Service::new("talker", "logger")]));
    assert_eq!(host.get("/talker/hello").status, 200);
    let logged = |level: &'static str, length: usize| {
        let lines = host.stdout();
        lines.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let message = line["message"].as_str()?;
            let is_it = line["level"] == level && message.len() == length;
            is_it.then_some(line)
        })
    };
    let length = "/hello".len();
    for level in ["trace", "debug", "info", "warn", "error", "critical"] {
        let line = eventually(level, || logged(level, length));
        assert_eq!(
            (&line["stream"], &line["context"]),
            (&"log".into(), &"test".into())
        );
        assert_eq!(line["workload"], "talker");
        assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
    }
    let long = eventually("the long line", || logged("info", 16 << 10));
    assert_eq!(long["context"].as_str().map(str::len), Some(256));
}

#[test]
fn headers_that_are_not_utf_8_cause_no_failure() {
    let host = start(&manifests(&[Service::new("good", "hello")]));
    let mut connection = TcpStream::connect(host.listener(80)).expect("a connection");
    let names = ["user-agent", "traceparent", "tracestate", "baggage", "b3"];
    let mut request = b"GET /good/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_vec();
    for name in names {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": \xff\xfe\x80\r\n");
    }
    request.extend_from_slice(b"\r\n");
    connection.write_all(&request).expect("sent");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    let line = host.call("the line", |call| call["path"] == "/good/");
    assert_eq!(line["user_agent"], "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
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
