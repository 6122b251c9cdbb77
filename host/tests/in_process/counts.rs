//! Each event increments the metric that counts it.

use futures::future::join_all;

use super::testing::{Host, Service, eventually, manifests};

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

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_rule() {
    let fields = "headers: {response: {set: {x-rule: \"1\"}}}
    - match: [{uri: {prefix: /gone}}]
      redirect: {uri: /app}";
    let host = Host::start(&ruled("status", fields, &[])).await;
    for code in ["200", "404"] {
        host.get(&format!("/app?code={code}")).await;
    }
    assert_eq!(host.send("BREW", "/app", &[]).await.status, 200);
    assert_eq!(host.get("/gone").await.status, 301);
    assert_eq!(host.get("/nowhere").await.status, 404);
    let app = "route=\"app\"";
    for (labels, count) in [
        (&[app, "method=\"GET\"", "response_code=\"200\""][..], 1.0),
        (&[app, "method=\"GET\"", "response_code=\"404\""], 1.0),
        (&[app, "method=\"other\"", "response_code=\"200\""], 1.0),
        (&["route=\"1\"", "response_code=\"301\""], 1.0),
        (&[], 4.0),
    ] {
        let labels = [&["virtual_service=\"test/routes\""], labels].concat();
        let name = "galleria_route_requests_total";
        host.counted(name, &labels, count).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_services_are_counted_by_rule() {
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
    let host = Host::start(&(manifests(&services) + "---\n" + rule)).await;
    assert_eq!(host.get("/caller/?url=http://good/").await.status, 200);
    let labels = ["virtual_service=\"test/inside\"", "route=\"all\""];
    let name = "galleria_route_requests_total";
    host.counted(name, &labels, 1.0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_counted() {
    let fields = "retries: {attempts: 2, retryOn: '503'}";
    let host = Host::start(&ruled("status", fields, &[])).await;
    let answer = host.get_with("/app", &[("x-fail-n", "2")]).await;
    assert_eq!(answer.status, 200);
    host.counted("galleria_retries_total", EDGE_TO_APP, 2.0)
        .await;
    host.counted("galleria_breaker_overflows_total", &[], 0.0)
        .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_counted_by_kind() {
    let fields = "fault: {delay: {fixedDelay: 1ms, percentage: {value: 100}}, abort: {httpStatus: 418, percentage: {value: 100}}}";
    let host = Host::start(&ruled("hello", fields, &[])).await;
    for _ in 0..3 {
        assert_eq!(host.get("/app").await.status, 418);
    }
    for fault in ["fault=\"delay\"", "fault=\"abort\""] {
        let name = "galleria_faults_injected_total";
        host.counted(name, &of_app(&[fault]), 3.0).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_breaker_and_its_overflows_are_reported() {
    let limits =
        policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}");
    let host = Host::start(&ruled("slow", "retries: {attempts: 0}", &[&limits])).await;
    assert_eq!(host.get("/app?ms=1").await.status, 200);
    let gauge = async |name: &str, value| {
        let name = format!("galleria_breaker_{name}");
        host.counted(&name, EDGE_TO_APP, value).await;
    };
    gauge("open", 0.0).await;
    let slow = async || assert_eq!(host.get("/app?ms=3000").await.status, 200);
    let breaker_fills = async {
        gauge("active_requests", 1.0).await;
        gauge("open", 0.0).await;
        let second = async {
            gauge("pending_requests", 1.0).await;
            gauge("open", 1.0).await;
            assert_eq!(host.get("/app?ms=1").await.status, 503);
            gauge("overflows_total", 1.0).await;
        };
        tokio::join!(slow(), second);
    };
    tokio::join!(slow(), breaker_fills);
    for name in ["open", "active_requests", "pending_requests"] {
        gauge(name, 0.0).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ejections_are_counted_until_they_end() {
    let detection = policy(
        "{outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 100}}",
    );
    let yaml = ruled("status", "retries: {attempts: 0}", &[&detection]);
    let host = Host::start(&yaml).await;
    let ejected = "galleria_ejected_endpoints";
    host.get("/app").await;
    host.counted(ejected, EDGE_TO_APP, 0.0).await;
    for _ in 0..2 {
        assert_eq!(host.get("/app?code=500").await.status, 500);
    }
    host.counted(ejected, EDGE_TO_APP, 1.0).await;
    let reason = of_app(&["reason=\"consecutive_5xx\""]);
    host.counted("galleria_ejections_total", &reason, 1.0).await;
    host.counted(ejected, EDGE_TO_APP, 0.0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrored_requests_are_counted_by_result() {
    let mirror = |name: &str| format!("mirror: {{host: {name}}}");
    let none = "apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: test}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}
";
    for (name, result) in [("app", "sent"), ("nobody", "dropped")] {
        let host = Host::start(&ruled("hello", &mirror(name), &[none])).await;
        for _ in 0..2 {
            assert_eq!(host.get("/app").await.status, 200);
        }
        let cluster = format!("cluster=\"outbound|80||{name}.test.svc.cluster.local\"");
        let result = format!("result=\"{result}\"");
        let name = "galleria_mirrored_requests_total";
        host.counted(name, &[&cluster, &result], 2.0).await;
        host.counted(name, &[], 2.0).await;
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_is_counted_as_a_failure_and_a_retired_instance() {
    let host = Host::start(&manifests(&[Service::new("bad", "trap")])).await;
    let pod = "workload=\"bad\"";
    assert_eq!(host.get("/bad/ok").await.status, 200);
    assert_eq!(host.get("/bad/").await.status, 503);
    let retired = "galleria_instances_retired_total";
    for (name, reason, count) in [
        ("galleria_guest_failures_total", "reason=\"Error\"", 1.0),
        (retired, "reason=\"request\"", 1.0),
        (retired, "reason=\"failed\"", 1.0),
        (retired, "reason=\"warm_up\"", 1.0),
        ("galleria_instances_started_total", "", 3.0),
        ("galleria_instance_start_seconds_count", "", 3.0),
        ("galleria_queue_wait_seconds_count", "", 2.0),
    ] {
        host.counted(name, &[pod, reason], count).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_wait_is_measured() {
    let service = Service::new("slow", "slow").annotation("galleria.dev/max-instances", "1");
    let host = Host::start(&manifests(&[service])).await;
    let asking = [(); 2].map(async |()| {
        assert_eq!(host.get("/slow/?ms=300").await.status, 200);
    });
    join_all(asking).await;
    let wait = |suffix: &str| format!("galleria_queue_wait_seconds_{suffix}");
    host.counted(&wait("count"), &[], 2.0).await;
    let at_once = host.metric(&wait("bucket"), &["le=\"0.1\""]).await;
    assert_eq!(at_once, 1.0, "the other waited for the first");
    assert!(host.metric(&wait("sum"), &[]).await > 0.1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_trace_headers_are_ignored_and_counted() {
    let host = Host::start(&manifests(&[Service::new("good", "hello")])).await;
    let long = "x".repeat(10_000);
    for headers in [
        &[("traceparent", "00-nonsense")][..],
        &[("b3", "nonsense")],
        &[("baggage", long.as_str())],
    ] {
        assert_eq!(host.get_with("/good/", headers).await.status, 200);
    }
    host.counted("galleria_trace_headers_ignored_total", &[], 3.0)
        .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_bytes_are_counted_by_port() {
    let host = Host::start(&manifests(&[Service::new("big", "large-body")])).await;
    let port = "port=\"80\"";
    let mut client = host.client(80).await;
    let answer = client.get("/big/").await;
    assert_eq!(answer.status, 200);
    host.counted("galleria_connections", &[port], 1.0).await;
    host.counted("galleria_connections_accepted_total", &[port], 1.0)
        .await;
    let sent = host.metric("galleria_sent_bytes_total", &[port]).await;
    let size = answer.body.len() as f64;
    assert!(
        (size..size * 1.1 + 1000.0).contains(&sent),
        "{sent} of {size}"
    );
    let received = host.metric("galleria_received_bytes_total", &[port]).await;
    assert!((50.0..1000.0).contains(&received), "{received}");
    drop(client);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_timed_by_database_without_the_login() {
    let volume = "env: []
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]";
    let service = Service::new("sql", "sql");
    let host = Host::start(&manifests(&[service]).replace("env: []", volume)).await;
    let ask = async |statement: &str| {
        let url = "sqlite:///data/shop.db?password=hunter2";
        let path = format!("/sql/?url={url}&q={statement}");
        host.get(&path).await.status
    };
    assert_eq!(ask("select%201").await, 200);
    assert_eq!(ask("nonsense").await, 500);
    let labels = [
        "namespace=\"test\"",
        "workload=\"sql\"",
        "database=\"/data\"",
    ];
    for result in ["result=\"ok\"", "result=\"error\""] {
        let labels = [&labels[..], &[result]].concat();
        let name = "galleria_sql_statement_seconds_count";
        host.counted(name, &labels, 1.0).await;
    }
    let idle = [&labels[..], &["state=\"idle\""]].concat();
    host.counted("galleria_sql_connections", &idle, 2.0).await;
    let metrics = host.metrics().await;
    assert!(!metrics.contains("hunter2"), "{metrics}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_end_with_the_object_that_they_describe() {
    let [kept, gone] = ["kept", "gone"].map(|name| Service::new(name, "hello"));
    let host = Host::start(&manifests(&[kept, gone])).await;
    for path in ["/kept/", "/gone/"] {
        assert_eq!(host.get(path).await.status, 200);
    }
    let routes = "galleria_route_requests_total";
    host.counted(routes, &["route=\"gone\""], 1.0).await;
    host.counted(routes, &["route=\"kept\""], 1.0).await;
    host.apply(&manifests(&[Service::new("kept", "hello")]))
        .await;
    eventually("the series of the removed object are gone", async || {
        let metrics = host.metrics().await;
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        let gone = lines.filter(|line| line.contains("gone"));
        (gone.count() == 0).then_some(())
    })
    .await;
    assert_eq!(host.metric(routes, &["route=\"kept\""]).await, 1.0);
    let calls = ["destination_workload=\"kept\"", "reporter=\"destination\""];
    assert_eq!(host.metric("istio_requests_total", &calls).await, 1.0);
    host.stop().await;
}
