//! Each event increments the metric that counts it.

use super::{counted, start};
use crate::support::{Galleria, Service, eventually, manifests};

/// `app` runs `image` behind a rule with `fields`, with further `documents`.
fn ruled(image: &'static str, fields: &str, documents: &[&str]) -> String {
    let service = Service::new("app", image).annotation("galleria.dev/isolation", "instance");
    let rule = format!(
        "  http:
    - name: app
      match: [{{uri: {{prefix: /app}}}}]
      rewrite: {{uri: /}}
      route: [{{destination: {{host: app}}}}]
      {fields}
"
    );
    let yaml = manifests(&[service]).replacen("  http:\n", &rule, 1);
    documents
        .iter()
        .fold(yaml, |yaml, document| yaml + "---\n" + document)
}

/// A DestinationRule for `app` with this policy.
fn policy(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: test}}
spec: {{host: app, trafficPolicy: {policy}}}
"
    )
}

/// Labels of calls from the edge to `app`.
const EDGE_TO_APP: &[&str] = &[
    "source_workload=\"unknown\"",
    "source_workload_namespace=\"unknown\"",
    "cluster=\"outbound|80||app.test.svc.cluster.local\"",
];

fn of_app<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [EDGE_TO_APP, more].concat()
}

#[test]
fn calls_are_counted_by_rule() {
    let fields = "headers: {response: {set: {x-rule: \"1\"}}}
    - match: [{uri: {prefix: /gone}}]
      redirect: {uri: /app}";
    let host = start(&ruled("status", fields, &[]));
    for code in ["200", "404"] {
        host.get(&format!("/app?code={code}"));
    }
    assert_eq!(host.send("BREW", "/app", &[]).status, 200);
    assert_eq!(host.get("/gone").status, 301);
    assert_eq!(host.get("/nowhere").status, 404);
    let count = |labels: &[&str], count| {
        let labels = [&["virtual_service=\"test/routes\""], labels].concat();
        counted(&host, "galleria_route_requests_total", &labels, count);
    };
    let app = "route=\"app\"";
    count(&[app, "method=\"GET\"", "response_code=\"200\""], 1.0);
    count(&[app, "method=\"GET\"", "response_code=\"404\""], 1.0);
    count(&[app, "method=\"other\"", "response_code=\"200\""], 1.0);
    count(&["route=\"1\"", "response_code=\"301\""], 1.0);
    count(&[], 4.0);
}

#[test]
fn calls_between_services_are_counted_by_rule() {
    let rule = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: inside, namespace: test}
spec:
  hosts: [good]
  http: [{name: all, route: [{destination: {host: good}}]}]
";
    let services = [
        Service::new("caller", "call"),
        Service::new("good", "hello"),
    ];
    let host = start(&(manifests(&services) + "---\n" + rule));
    assert_eq!(host.get("/caller/?url=http://good/").status, 200);
    let labels = ["virtual_service=\"test/inside\"", "route=\"all\""];
    counted(&host, "galleria_route_requests_total", &labels, 1.0);
}

#[test]
fn retries_are_counted() {
    let host = start(&ruled(
        "status",
        "retries: {attempts: 2, retryOn: '503'}",
        &[],
    ));
    let answer = host.get_with("/app", &[("x-fail-n", "2")]);
    assert_eq!(answer.status, 200);
    counted(&host, "galleria_retries_total", EDGE_TO_APP, 2.0);
    counted(&host, "galleria_breaker_overflows_total", &[], 0.0);
}

#[test]
fn faults_are_counted_by_kind() {
    let host = start(&ruled(
        "hello",
        "fault: {delay: {fixedDelay: 1ms, percentage: {value: 100}}, abort: {httpStatus: 418, percentage: {value: 100}}}",
        &[],
    ));
    for _ in 0..3 {
        assert_eq!(host.get("/app").status, 418);
    }
    for fault in ["fault=\"delay\"", "fault=\"abort\""] {
        counted(
            &host,
            "galleria_faults_injected_total",
            &of_app(&[fault]),
            3.0,
        );
    }
}

#[test]
fn open_breaker_and_its_overflows_are_reported() {
    let limits =
        policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}");
    let host = start(&ruled("slow", "retries: {attempts: 0}", &[&limits]));
    assert_eq!(host.get("/app?ms=1").status, 200);
    let gauge = |name: &str, value| {
        let name = format!("galleria_breaker_{name}");
        counted(&host, &name, EDGE_TO_APP, value);
    };
    gauge("open", 0.0);
    std::thread::scope(|scope| {
        let slow = || host.get("/app?ms=3000").status;
        let first = scope.spawn(slow);
        gauge("active_requests", 1.0);
        gauge("open", 0.0);
        let second = scope.spawn(slow);
        gauge("pending_requests", 1.0);
        gauge("open", 1.0);
        assert_eq!(host.get("/app?ms=1").status, 503);
        gauge("overflows_total", 1.0);
        for asked in [first, second] {
            assert_eq!(asked.join().expect("an answer"), 200);
        }
    });
    for name in ["open", "active_requests", "pending_requests"] {
        gauge(name, 0.0);
    }
}

#[test]
fn ejections_are_counted_until_they_end() {
    let detection = policy(
        "{outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 100}}",
    );
    let host = start(&ruled("status", "retries: {attempts: 0}", &[&detection]));
    host.get("/app");
    counted(&host, "galleria_ejected_endpoints", EDGE_TO_APP, 0.0);
    for _ in 0..2 {
        assert_eq!(host.get("/app?code=500").status, 500);
    }
    counted(&host, "galleria_ejected_endpoints", EDGE_TO_APP, 1.0);
    let reason = of_app(&["reason=\"consecutive_5xx\""]);
    counted(&host, "galleria_ejections_total", &reason, 1.0);
    counted(&host, "galleria_ejected_endpoints", EDGE_TO_APP, 0.0);
}

#[test]
fn mirrored_requests_are_counted_by_result() {
    let mirror = |name: &str| format!("mirror: {{host: {name}}}");
    let none = "apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: test}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
";
    for (name, result) in [("app", "sent"), ("nobody", "dropped")] {
        let host = start(&ruled("hello", &mirror(name), &[none]));
        for _ in 0..2 {
            assert_eq!(host.get("/app").status, 200);
        }
        let cluster = format!("cluster=\"outbound|80||{name}.test.svc.cluster.local\"");
        let result = format!("result=\"{result}\"");
        let name = "galleria_mirrored_requests_total";
        counted(&host, name, &[&cluster, &result], 2.0);
        counted(&host, name, &[], 2.0);
    }
}

#[test]
fn trap_is_counted_as_a_failure_and_a_retired_instance() {
    let host = start(&manifests(&[Service::new("bad", "trap")]));
    let pod = "workload=\"bad\"";
    assert_eq!(host.get("/bad/ok").status, 200);
    assert_eq!(host.get("/bad/").status, 503);
    counted(
        &host,
        "galleria_guest_failures_total",
        &[pod, "reason=\"Error\""],
        1.0,
    );
    let retired = |reason, count| {
        let labels = [pod, reason];
        counted(&host, "galleria_instances_retired_total", &labels, count);
    };
    retired("reason=\"request\"", 1.0);
    retired("reason=\"failed\"", 1.0);
    retired("reason=\"warm_up\"", 1.0);
    counted(&host, "galleria_instances_started_total", &[pod], 3.0);
    counted(&host, "galleria_instance_start_seconds_count", &[pod], 3.0);
    counted(&host, "galleria_queue_wait_seconds_count", &[pod], 2.0);
}

#[test]
fn queue_wait_is_measured() {
    let service = Service::new("slow", "slow").annotation("galleria.dev/max-instances", "1");
    let host = start(&manifests(&[service]));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(host.get("/slow/?ms=300").status, 200));
        }
    });
    counted(&host, "galleria_queue_wait_seconds_count", &[], 2.0);
    let at_once = host.metric("galleria_queue_wait_seconds_bucket", &["le=\"0.1\""]);
    assert_eq!(at_once, 1.0, "the other waited for the first");
    assert!(host.metric("galleria_queue_wait_seconds_sum", &[]) > 0.1);
}

#[test]
fn malformed_trace_headers_are_ignored_and_counted() {
    let host = start(&manifests(&[Service::new("good", "hello")]));
    let long = "x".repeat(10_000);
    for headers in [
        &[("traceparent", "00-nonsense")][..],
        &[("b3", "nonsense")],
        &[("baggage", long.as_str())],
    ] {
        assert_eq!(host.get_with("/good/", headers).status, 200);
    }
    counted(&host, "galleria_trace_headers_ignored_total", &[], 3.0);
}

#[test]
fn connections_and_bytes_are_counted_by_port() {
    let host = start(&manifests(&[Service::new("big", "large-body")]));
    let port = "port=\"80\"";
    let answer = host.get("/big/");
    assert_eq!(answer.status, 200);
    counted(&host, "galleria_connections", &[port], 1.0);
    counted(&host, "galleria_connections_total", &[port], 1.0);
    let sent = host.metric("galleria_sent_bytes_total", &[port]);
    let size = answer.body.len() as f64;
    assert!(
        (size..size * 1.1 + 1000.0).contains(&sent),
        "{sent} of {size}"
    );
    let received = host.metric("galleria_received_bytes_total", &[port]);
    assert!((50.0..1000.0).contains(&received), "{received}");
}

#[test]
fn second_start_loads_cached_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("good", "hello")])).expect("a file");
    let data = folder.path().join("data");
    for (result, other) in [("compiled", "cached"), ("cached", "compiled")] {
        let host = Galleria::run(&file)
            .data(&data)
            .without_shared_cache()
            .start();
        let loads = |result| {
            let result = format!("result=\"{result}\"");
            host.metric("galleria_component_loads_total", &[&result])
        };
        assert_eq!((loads(result), loads(other)), (1.0, 0.0));
    }
}

#[test]
fn certificate_expiry_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate");
    std::fs::write(&file, authority.pem()).expect("a file");
    let tls = policy(&format!(
        "{{tls: {{mode: SIMPLE, caCertificates: {}}}}}",
        file.display()
    ));
    let host = start(&ruled("hello", "", &[&tls]));
    let name = "galleria_certificate_expiry_timestamp_seconds";
    let of_file = format!("certificate=\"{}\"", file.display());
    assert_eq!(host.metric(name, &[&of_file]), 1_924_992_000.0);
    let of_admin = host.metric(name, &["certificate=\"admin\""]);
    assert!(of_admin > 1_924_992_000.0, "{of_admin}");
}

#[test]
fn statements_are_timed_by_database_without_the_login() {
    let volume = "env: []
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]";
    let service = Service::new("sql", "sql");
    let host = start(&manifests(&[service]).replace("env: []", volume));
    let ask = |statement: &str| {
        let url = "sqlite:///data/shop.db?password=hunter2";
        host.get(&format!("/sql/?url={url}&q={statement}")).status
    };
    assert_eq!(ask("select%201"), 200);
    assert_eq!(ask("nonsense"), 500);
    let labels = [
        "namespace=\"test\"",
        "workload=\"sql\"",
        "database=\"/data\"",
    ];
    for result in ["result=\"ok\"", "result=\"error\""] {
        let labels = [&labels[..], &[result]].concat();
        counted(&host, "galleria_sql_statement_seconds_count", &labels, 1.0);
    }
    let idle = [&labels[..], &["state=\"idle\""]].concat();
    counted(&host, "galleria_sql_connections", &idle, 2.0);
    let metrics = host.status("/metrics").body;
    assert!(!metrics.contains("hunter2"), "{metrics}");
}

#[test]
fn series_end_with_the_object_that_they_describe() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let services = || [Service::new("kept", "hello"), Service::new("gone", "hello")];
    std::fs::write(&file, manifests(&services())).expect("a file");
    let host = Galleria::run(&file).start();
    for path in ["/kept/", "/gone/"] {
        assert_eq!(host.get(path).status, 200);
    }
    let routes = "galleria_route_requests_total";
    counted(&host, routes, &["route=\"gone\""], 1.0);
    counted(&host, routes, &["route=\"kept\""], 1.0);
    let [kept, _] = services();
    std::fs::write(&file, manifests(&[kept])).expect("a file");
    eventually("the series of the removed object are gone", || {
        let metrics = host.status("/metrics").body;
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        let gone = lines.filter(|line| line.contains("gone"));
        (gone.count() == 0).then_some(())
    });
    assert_eq!(host.metric(routes, &["route=\"kept\""]), 1.0);
    let calls = ["destination_workload=\"kept\"", "reporter=\"destination\""];
    assert_eq!(host.metric("istio_requests_total", &calls), 1.0);
}
