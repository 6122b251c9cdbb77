//! A reused instance keeps nothing of the requests that it has served.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Answer, Galleria, Host, Service, eventually, manifests};

/// A service with one instance.
fn single(name: &'static str, image: &'static str) -> Service {
    Service::new(name, image)
        .annotation("galleria.dev/isolation", "instance")
        .annotation("galleria.dev/max-instances", "1")
}

fn start(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file)
        .argument("--access-log=off")
        .argument("--request-timeout=5s")
        .start()
}

/// Requests `path` `times` times, four requests at once.
#[track_caller]
fn ask(host: &Host, times: usize, path: &str, is_good: impl Fn(&Answer) -> bool + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..times / 4 {
                    let answer = host.get(path);
                    assert!(
                        is_good(&answer),
                        "{path}: {} {}",
                        answer.status,
                        answer.body
                    );
                }
            });
        }
    });
}

fn is_fine(answer: &Answer) -> bool {
    answer.status == 200
}

/// How many instances of `workload` were retired for `reason`.
fn retired(host: &Host, workload: &str, reason: &str) -> f64 {
    let labels = [
        format!("workload=\"{workload}\""),
        format!("reason=\"{reason}\""),
    ];
    host.metric(
        "galleria_instances_retired_total",
        &labels.each_ref().map(String::as_str),
    )
}

#[track_caller]
fn assert_no_instance_has_grown(host: &Host, workloads: &[&str]) {
    for workload in workloads {
        for reason in ["grown", "failed", "spent"] {
            assert_eq!(retired(host, workload, reason), 0.0, "{workload}: {reason}");
        }
    }
}

/// An instance keeps at most 1,000 handles: if a call left one behind, the instance would
/// be retired.
#[test]
fn calling_instance_keeps_nothing_of_thirty_thousand_calls() {
    let host = start(&[
        single("post", "post"),
        Service::new("modern", "post-p3"),
        single("echo", "echo"),
    ]);
    let fine = |answer: &Answer| answer.status == 200 && answer.body.ends_with("xxx");
    ask(
        &host,
        300,
        "/post/?url=http://echo/&bytes=3&times=100",
        fine,
    );
    ask(
        &host,
        100,
        "/modern/?url=http://echo/&bytes=3&times=100",
        fine,
    );
    assert_no_instance_has_grown(&host, &["post", "modern", "echo"]);
}

#[test]
fn serving_instance_keeps_nothing_of_any_kind_of_request() {
    let host = start(&[
        single("plain", "hello"),
        single("large", "large-body"),
        single("echo", "echo"),
        single("sql", "sql"),
        Service::new("modern", "hello-p3"),
        Service::new("passing", "call-p3"),
        single("passer", "call"),
    ]);
    ask(&host, 2_000, "/plain/", is_fine);
    ask(&host, 2_000, "/modern/", is_fine);
    ask(&host, 1_200, "/large/?mib=0", is_fine);
    ask(&host, 1_200, "/echo/", is_fine);
    ask(&host, 1_200, "/passer/?url=http://plain/", is_fine);
    ask(&host, 1_200, "/passing/?url=http://plain/", is_fine);
    let query = "/sql/?url=sqlite::memory:&q=SELECT%201";
    ask(&host, 1_200, query, |answer| {
        answer.status == 200 || answer.status == 500
    });
    let all = [
        "plain", "large", "echo", "sql", "modern", "passing", "passer",
    ];
    assert_no_instance_has_grown(&host, &all);
}

#[test]
fn instance_whose_client_disconnects_is_discarded() {
    let host = start(&[
        single("large", "large-body"),
        Service::new("modern", "call-p3"),
        single("hello", "hello"),
    ]);
    for path in ["/large/?mib=64", "/modern/?url=http://large/?mib=64"] {
        for _ in 0..50 {
            let mut client = TcpStream::connect(host.listener(80)).expect("a connection");
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            client.write_all(request.as_bytes()).expect("sent");
            client.read_exact(&mut [0; 4096]).expect("a beginning");
        }
    }
    assert_eq!(host.get("/large/?mib=1").body.len(), 1 << 20);
    eventually("one instance of each is left", || {
        let left = |workload: &str| {
            let workload = format!("workload=\"{workload}\"");
            host.metric("galleria_instances", &[&workload])
        };
        (left("large") <= 1.0 && left("modern") <= 1.0).then_some(())
    });
    assert_eq!(host.get("/modern/?url=http://hello/").body, "hello\n");
}

#[test]
fn leaking_instance_is_replaced_between_requests_without_a_failure() {
    let host = start(&[
        single("leak", "leak"),
        Service::new("modern", "hello-p3"),
        single("hoard", "allocate").memory("32Mi"),
    ]);
    ask(&host, 300, "/leak/?n=10", is_fine);
    assert!(retired(&host, "leak", "grown") >= 2.0);
    ask(&host, 400, "/modern/leak?n=50", is_fine);
    eventually("the leaking instances of WASI 0.3 are gone", || {
        (retired(&host, "modern", "grown") >= 2.0).then_some(())
    });
    ask(&host, 60, "/hoard/?mib=3&keep", is_fine);
    assert!(retired(&host, "hoard", "grown") >= 5.0);
    for workload in ["leak", "modern", "hoard"] {
        assert_eq!(retired(&host, workload, "failed"), 0.0, "{workload}");
    }
}
