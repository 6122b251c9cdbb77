//! The format of `/metrics`, checked with the programs that read it.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::{counted, start};
use crate::support::{Galleria, Host, Service, eventually, manifests};

/// The shop after requests of every kind.
fn busy_shop() -> Host {
    let host = Galleria::shop().start();
    for path in [
        "/ui",
        "/ui/product/1",
        "/productms/product/catalogue/1",
        "/nowhere",
    ] {
        host.get(path);
    }
    counted(
        &host,
        "istio_requests_total",
        &["response_flags=\"NR\""],
        1.0,
    );
    host
}

#[test]
fn promtool_accepts_the_metrics() {
    let host = busy_shop();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: apt-get install prometheus");
    let metrics = host.status("/metrics").body;
    let mut input = promtool.stdin.take().expect("piped");
    input.write_all(metrics.as_bytes()).expect("written");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    // Istio's name, which its dashboards query; promtool recommends seconds.
    let complaints = said
        .lines()
        .filter(|line| !line.starts_with("istio_request_duration_milliseconds use base unit"));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0], "{said}");
}

#[test]
fn scraper_that_requests_open_metrics_gets_it() {
    let host = start(&manifests(&[Service::new("good", "hello")]));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = |flags| format!("00-{trace}-00f067aa0ba902b7-{flags}");
    let open = || host.metrics_as("application/openmetrics-text; version=1.0.0");
    host.get_with("/good/", &[("traceparent", &parent("00"))]);
    counted(&host, "istio_requests_total", &[], 2.0);
    assert!(
        !open().body.contains("trace_id"),
        "the trace is not sampled"
    );
    host.get_with("/good/", &[("traceparent", &parent("01"))]);
    counted(&host, "istio_requests_total", &[], 4.0);
    let answer = open();
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(answer.body.ends_with("# EOF\n"));
    assert!(answer.body.contains("# TYPE istio_requests counter\n"));
    let exemplar = format!("# {{trace_id=\"{trace}\"}} ");
    let buckets = answer.body.lines().filter(|line| line.contains(&exemplar));
    let buckets: Vec<_> = buckets.collect();
    assert_eq!(buckets.len(), 2, "one for each reporter: {buckets:?}");
    for bucket in buckets {
        assert!(
            bucket.starts_with("istio_request_duration_milliseconds_bucket{"),
            "{bucket}"
        );
    }
    let plain = host.metrics_as("*/*");
    assert!(plain.header("content-type").starts_with("text/plain"));
    assert!(!plain.body.contains("trace_id"));
}

/// A Prometheus that scrapes a host and is stopped when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn of(host: &Host) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let config = folder.path().join("prometheus.yaml");
        let target = host.status_address();
        let scrape = format!(
            "scrape_configs: [{{job_name: galleria, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]"
        );
        std::fs::write(&config, scrape).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: apt-get install prometheus");
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// The data of an API response; `None` while it starts.
    fn ask(&self, path: &str) -> Option<serde_json::Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let mut response = ureq::get(url).call().ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        Some(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_stores_metrics_with_exemplars() {
    let host = Galleria::shop().argument("--trace-sample=1").start();
    assert_eq!(host.get("/ui/product/1").status, 200);
    let trace = host.call("the edge's line", |call| call["path"] == "/ui/product/1");
    let trace = trace["trace_id"].as_str().expect("a trace id").to_owned();
    let prometheus = Prometheus::of(&host);
    let query =
        "query_exemplars?query=istio_request_duration_milliseconds_bucket&start=0&end=9999999999";
    eventually("the exemplar is stored", || {
        let found = prometheus.ask(query)?;
        let series = found.as_array()?.iter();
        let mut exemplars = series.filter_map(|it| it["exemplars"].as_array()).flatten();
        exemplars
            .any(|it| it["labels"]["trace_id"] == trace.as_str())
            .then_some(())
    });
    let targets = prometheus.ask("targets").expect("targets");
    let target = &targets["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&"up".into(), &"".into())
    );
    let up = prometheus.ask("query?query=count(galleria_route_requests_total)");
    assert!(up.is_some_and(|it| !it["result"][0].is_null()));
}

#[test]
fn request_data_creates_no_series() {
    let manifest = manifests(&[
        Service::new("good", "hello"),
        Service::new("caller", "call"),
    ]);
    let host = start(&manifest);
    let series = || {
        let metrics = host.status("/metrics").body;
        metrics
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    let long = "x".repeat(50_000);
    let mut after_one_round = None;
    for round in 0..10 {
        for number in 0..20 {
            let unique = format!("m{round}x{number}");
            host.send(&unique.to_uppercase(), "/good/", &[]);
            host.get_with("/good/", &[("host", &format!("{unique}.example.com"))]);
            host.get(&format!("/good/{unique}?{unique}"));
            host.get(&format!("/{unique}"));
            host.get(&format!("/caller/?url=http://{unique}.example.com/"));
            host.get_with(
                "/good/",
                &[
                    ("x-request-id", &unique),
                    ("traceparent", &unique),
                    ("tracestate", &unique),
                    ("baggage", &long),
                    ("user-agent", &unique),
                    ("x-envoy-attempt-count", &unique),
                    ("source_workload", &unique),
                ],
            );
        }
        eventually("all calls of the round are counted", || {
            let taken = host.metric("galleria_route_requests_total", &[]);
            (taken == f64::from((round + 1) * 20 * 5)).then_some(())
        });
        let now = series();
        let before = *after_one_round.get_or_insert(now);
        assert_eq!(now, before, "round {round}");
    }
}
