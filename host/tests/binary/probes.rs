//! Probes: their requests, what they gate, and how they end a pod.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests};

fn run(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file)
        .argument("--restart-backoff-initial=100ms")
        .start()
}

fn probes(host: &Host, workload: &str, probe: &str, result: &str) -> f64 {
    let labels = [
        format!("workload=\"{workload}\""),
        format!("probe=\"{probe}\""),
        format!("result=\"{result}\""),
    ];
    host.metric(
        "galleria_probes_total",
        &labels.each_ref().map(String::as_str),
    )
}

/// Waits for an event of a pod with this message.
fn event(host: &Host, reason: &str, message: &str) {
    eventually(&format!("the event {reason}: {message}"), || {
        let output = host.status_page(&["-o", "json"]).stdout;
        let report: Value = serde_json::from_str(&output).ok()?;
        let objects = report["objects"].as_array()?.iter();
        let mut events = objects.filter(|object| object["reason"] == reason);
        events
            .any(|event| {
                event["message"]
                    .as_str()
                    .is_some_and(|it| it.contains(message))
            })
            .then_some(())
    });
}

#[test]
fn startup_probe_delays_the_others_and_no_probe_counts_as_traffic() {
    // Each instance fails its first three requests, and the instance is reused.
    let startup = "{httpGet: {path: '/?code=503', port: 8080, httpHeaders: [{name: x-fail-n, value: '3'}]}, \
         periodSeconds: 1, failureThreshold: 10}";
    let slow_start = Service::new("good", "status")
        .annotation("galleria.dev/isolation", "instance")
        .probe("startupProbe", startup)
        .probe(
            "readinessProbe",
            "{tcpSocket: {port: 8080}, periodSeconds: 1}",
        )
        .probe(
            "livenessProbe",
            "{httpGet: {path: /, port: 8080}, periodSeconds: 1}",
        );
    let began = Instant::now();
    let host = run(&[slow_start]);
    assert!(
        began.elapsed() >= Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(probes(&host, "good", "startup", "failure"), 3.0);
    assert_eq!(probes(&host, "good", "startup", "success"), 1.0);
    eventually("the other probes run", || {
        (probes(&host, "good", "liveness", "success") >= 1.0).then_some(())
    });
    assert_eq!(probes(&host, "good", "liveness", "failure"), 0.0);
    assert_eq!(probes(&host, "good", "readiness", "failure"), 0.0);
    event(
        &host,
        "Unhealthy",
        "Startup probe failed: /?code=503 answered 503",
    );
    assert_eq!(
        host.calls(),
        Vec::<Value>::new(),
        "probes are not calls of the mesh"
    );
    assert_eq!(host.metric("istio_requests_total", &[]), 0.0);
}

#[test]
fn liveness_probe_restarts_the_pod_and_kills_requests_after_the_grace_period() {
    let probe = "{httpGet: {path: '/?ms=10000', port: 8080}, initialDelaySeconds: 2, \
         failureThreshold: 1, terminationGracePeriodSeconds: 1}";
    let host = run(&[
        Service::new("bad", "slow").probe("livenessProbe", probe),
        Service::new("good", "hello"),
    ]);
    let began = Instant::now();
    let answer = host.get("/bad/?ms=30000");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let call = host.call("the killed call", |call| call["path"] == "/bad/?ms=30000");
    assert_eq!(call["response_flags"], "UC");
    event(&host, "Killing", "failed liveness probe, will be restarted");
    event(&host, "BackOff", "restarting failed container=main");
    eventually("the pod runs again", || {
        let restarts = host.metric("galleria_pod_restarts_total", &["workload=\"bad\""]);
        let ready = host.metric("galleria_pod_ready", &["workload=\"bad\""]);
        (restarts >= 1.0 && ready == 1.0).then_some(())
    });
    assert!(host.status_page(&[]).stdout.contains("ProbeFailed"));
    assert_eq!(host.get("/good/").status, 200);
}

#[test]
fn probes_do_not_wait_behind_traffic() {
    let readiness =
        "{httpGet: {path: '/?ms=0', port: 8080}, periodSeconds: 1, failureThreshold: 1}";
    let busy = |service: Service| {
        service
            .annotation("galleria.dev/max-instances", "1")
            .annotation("galleria.dev/max-queue", "1")
            .probe("readinessProbe", readiness)
    };
    let host = run(&[
        busy(Service::new("older", "slow").annotation("galleria.dev/isolation", "instance")),
        busy(Service::new("newer", "hello-p3")),
    ]);
    let paths = ["/older/?ms=4000", "/newer/sleep?ms=4000"];
    std::thread::scope(|scope| {
        // Each pod serves one request and queues one.
        for path in paths.into_iter().chain(paths) {
            let host = &host;
            scope.spawn(move || assert_eq!(host.get(path).status, 200, "{path}"));
        }
        for workload in ["older", "newer"] {
            let asked = probes(&host, workload, "readiness", "success");
            eventually("two further probes have run", || {
                let now = probes(&host, workload, "readiness", "success");
                (now >= asked + 2.0).then_some(())
            });
        }
    });
    for workload in ["older", "newer"] {
        assert_eq!(
            probes(&host, workload, "readiness", "failure"),
            0.0,
            "{workload}"
        );
    }
}

#[test]
fn grpc_probe_calls_the_health_service() {
    let not_there = "{grpc: {port: 8080}, initialDelaySeconds: 1, failureThreshold: 1}";
    let host = run(&[
        Service::new("good", "grpc-health")
            .probe("readinessProbe", "{grpc: {port: 8080, service: shop}}"),
        Service::new("down", "grpc-health").probe(
            "livenessProbe",
            "{grpc: {port: 8080, service: down}, initialDelaySeconds: 1}",
        ),
        Service::new("gone", "grpc-health").probe(
            "livenessProbe",
            "{grpc: {port: 8080, service: unknown}, initialDelaySeconds: 1}",
        ),
        Service::new("plain", "hello").probe("livenessProbe", not_there),
    ]);
    assert_eq!(probes(&host, "good", "readiness", "failure"), 0.0);
    event(&host, "Unhealthy", "the service is not serving (status 2)");
    event(&host, "Unhealthy", "grpc-status 5");
    event(
        &host,
        "Unhealthy",
        "does the component serve the gRPC health service?",
    );
}

#[test]
fn redirect_away_from_the_pod_is_a_success_with_a_warning() {
    let readiness = "{httpGet: {path: '/?code=302', port: 8080}, periodSeconds: 1}";
    let service = Service::new("good", "status").probe("readinessProbe", readiness);
    let host = run(&[service]);
    assert_eq!(host.get("/good/").status, 200);
    event(
        &host,
        "ProbeWarning",
        "Readiness probe warning: Probe terminated redirects",
    );
}
