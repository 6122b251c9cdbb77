//! Traces, as a collector receives them.

mod control;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use crate::support::{Collector, Galleria, Host, Service, SpanRecord, eventually, manifests};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn run(services: &[Service], with: impl FnOnce(Galleria) -> Galleria) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    with(Galleria::run(&file)).start()
}

/// Every span except the root is a descendant of the root, and lies within the time of
/// its parent.
#[track_caller]
fn check_tree(spans: &[SpanRecord], root_parent: &str) {
    for span in spans.iter().filter(|span| span.parent != root_parent) {
        let parent = spans.iter().find(|it| it.id == span.parent);
        let parent = parent.unwrap_or_else(|| panic!("{span:?} has no parent in {spans:#?}"));
        assert!(
            span.start >= parent.start,
            "{span:?} began before {parent:?}"
        );
        assert!(span.end <= parent.end, "{span:?} ended after {parent:?}");
    }
    let roots = spans.iter().filter(|span| span.parent == root_parent);
    assert_eq!(roots.count(), 1, "{spans:#?}");
}

#[test]
fn page_of_the_shop_is_one_tree_of_spans() {
    let collector = Collector::grpc();
    let host = Galleria::shop().exporting_to(&collector).start();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let page = host.get_with("/ui/product/1", &[("traceparent", &traceparent)]);
    assert_eq!(page.status, 200);
    let served = |spans: &[SpanRecord], name: &str| {
        let mut servers = spans.iter().filter(|it| it.kind == 2);
        servers.any(|it| it.service.starts_with(name))
    };
    let spans = collector.trace(TRACE, |spans| {
        ["galleria", "ui", "productms", "productreviewms"]
            .iter()
            .all(|name| served(spans, name))
    });
    check_tree(&spans, PARENT);
    let edge = spans
        .iter()
        .find(|it| it.service == "galleria" && it.kind == 2);
    let edge = edge.expect("the edge's span");
    assert_eq!(edge.attributes["http.response.status_code"], "200");
    assert_eq!(edge.attributes["url.path"], "/ui/product/1");
    assert!(edge.name.starts_with("GET "), "{}", edge.name);
    assert!(edge.attributes["upstream_cluster"].contains("k8uiworkshopservice"));
    // A guest's calls are children of the guest that made them.
    let review = spans
        .iter()
        .find(|it| it.kind == 2 && it.service.starts_with("productreviewms"))
        .expect("the review service");
    let mut above = vec![review.service.as_str()];
    let mut span = review;
    while let Some(parent) = spans.iter().find(|it| it.id == span.parent) {
        if above.last() != Some(&parent.service.as_str()) {
            above.push(&parent.service);
        }
        span = parent;
    }
    assert_eq!(above.last(), Some(&"galleria"), "{above:?}");
    assert!(above.len() >= 3, "{above:?}");
    // A guest's SQL statements are children of the guest that sent them.
    let asked: Vec<_> = spans
        .iter()
        .filter(|it| {
            it.attributes
                .get("db.system.name")
                .is_some_and(|it| it == "sqlite")
        })
        .collect();
    assert!(
        asked.iter().any(|it| it.service.starts_with("productms")),
        "{spans:#?}"
    );
    let select = asked.iter().find(|it| it.name.starts_with("SELECT "));
    let select = select.expect("a SELECT");
    assert!(
        select.attributes.contains_key("db.collection.name"),
        "{select:?}"
    );
    let exported = host.metric("galleria_trace_spans_total", &["result=\"exported\""]);
    assert!(exported >= spans.len() as f64);
}

#[test]
fn http_export_works_and_spans_show_waits_and_failures() {
    let collector = Collector::http();
    let host = run(
        &[
            Service::new("status", "status"),
            Service::new("slow", "slow").annotation("galleria.dev/max-instances", "1"),
        ],
        |host| host.exporting_to(&collector),
    );
    assert_eq!(host.get("/status/?code=500").status, 500);
    // The control side has roots of its own.
    let is_root = |it: &&SpanRecord| it.parent.is_empty() && it.kind == 2;
    let spans = eventually("spans come", || {
        let spans = collector.spans();
        spans.iter().any(|it| is_root(&it)).then_some(spans)
    });
    let trace = &spans.iter().find(is_root).expect("a root").trace;
    let spans: Vec<_> = spans
        .iter()
        .filter(|it| it.trace == *trace)
        .cloned()
        .collect();
    check_tree(&spans, "");
    assert!(
        spans.iter().filter(|it| it.kind != 1).all(|it| it.failed),
        "{spans:#?}"
    );
    let instance = spans.iter().find(|it| it.name == "instantiate");
    assert_eq!(instance.expect("a fresh instance").service, "status");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| host.get("/slow/?ms=300"));
        }
    });
    eventually("one request waited for the other", || {
        collector
            .spans()
            .into_iter()
            .find(|it| it.name == "queue" && it.service == "slow")
    });
}

#[test]
fn output_of_a_guest_carries_the_trace_of_its_request() {
    let host = run(&[Service::new("a", "stdio")], |host| host);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    host.get_with("/a/one", &[("traceparent", &traceparent)]);
    let line = eventually("the line is logged", || {
        let out = host.stdout();
        let mut lines = out.lines();
        lines
            .find(|line| line.contains("out: /one"))
            .map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (&line["trace_id"], &line["stream"]),
        (&TRACE.into(), &"stdout".into())
    );
}

#[test]
fn log_of_a_shared_instance_carries_the_trace_of_each_request() {
    let host = run(&[Service::new("a", "logger-p3")], |host| host);
    let other = TRACE.replace('4', "5");
    let ask = |trace: &str, path: &str| {
        let traceparent = format!("00-{trace}-{PARENT}-01");
        let answer = host.get_with(path, &[("traceparent", &traceparent)]);
        assert_eq!(answer.status, 200);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| ask(TRACE, "/a/slow?ms=300"));
        eventually("the first request is in flight", || {
            host.stdout().contains("begin /slow").then_some(())
        });
        ask(&other, "/a/fast");
    });
    for (text, trace) in [
        ("begin /slow", TRACE),
        ("begin /fast", &other),
        ("end /fast", &other),
        ("printed /fast", &other),
        ("end /slow", TRACE),
        ("printed /slow", TRACE),
    ] {
        let line = eventually(text, || {
            let out = host.stdout();
            let line = out.lines().find(|line| line.contains(text));
            line.map(str::to_owned)
        });
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["trace_id"], trace, "{text}");
    }
}

#[test]
fn statements_of_a_shared_instance_belong_to_their_requests() {
    let collector = Collector::grpc();
    let volume = "env: []
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let manifest = manifests(&[Service::new("a", "logger-p3")]).replace("env: []", volume);
    std::fs::write(&file, manifest).expect("a file");
    let host = Galleria::run(&file).exporting_to(&collector).start();
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let path = "/a/x?db=sqlite%3A%2Fdata%2Ft.db";
    let answer = host.get_with(path, &[("traceparent", &traceparent)]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let is_statement = |span: &SpanRecord| span.name == "SELECT";
    let spans = collector.trace(TRACE, |spans| {
        spans.iter().any(is_statement) && spans.iter().any(|it| it.parent == PARENT)
    });
    check_tree(&spans, PARENT);
    let statement = spans.iter().find(|it| is_statement(it)).expect("it");
    assert_eq!(statement.service, "a");
}

#[test]
fn b3_and_baggage_are_propagated() {
    let host = run(&[Service::new("a", "echo")], |host| host);
    let single = format!("{TRACE}-{PARENT}-1");
    let seen = host
        .get_with("/a/", &[("b3", &single), ("baggage", "shop=1")])
        .body;
    assert!(
        seen.contains(&format!(r#""b3","value":"{TRACE}-"#)),
        "{seen}"
    );
    assert!(
        seen.contains(&format!(r#""traceparent","value":"00-{TRACE}-"#)),
        "{seen}"
    );
    assert!(seen.contains(r#""baggage","value":"shop=1""#), "{seen}");
    let several = [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", PARENT),
        ("x-b3-sampled", "0"),
    ];
    let seen = host.get_with("/a/", &several).body;
    assert!(
        seen.contains(&format!(r#""x-b3-traceid","value":"{TRACE}""#)),
        "{seen}"
    );
    assert!(seen.contains(r#""x-b3-sampled","value":"0""#), "{seen}");
    assert!(!seen.contains(PARENT), "the guest has its own span: {seen}");
}

#[test]
fn unsampled_trace_is_propagated_but_not_exported() {
    let collector = Collector::grpc();
    let host = run(&[Service::new("a", "echo")], |host| {
        host.exporting_to(&collector).argument("--trace-sample=0")
    });
    let seen = host.get("/a/").body;
    assert!(
        seen.contains(r#""traceparent","value":"00-"#) && seen.contains(r#"-00"}"#),
        "{seen}"
    );
    // The sampling decision of the caller is respected.
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    host.get_with("/a/", &[("traceparent", &traceparent)]);
    let spans = collector.trace(TRACE, |spans| spans.len() >= 3);
    check_tree(&spans, PARENT);
    assert!(collector.spans().iter().all(|it| it.trace == TRACE));
}

#[test]
fn unresponsive_missing_or_broken_collector_delays_no_request() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hangs = silent.local_addr().expect("an address");
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    };
    let nonsense = nonsense();
    for (address, protocol) in [
        (hangs, "grpc"),
        (gone, "grpc"),
        (nonsense, "grpc"),
        (nonsense, "http/protobuf"),
    ] {
        let host = run(&[Service::new("a", "hello")], |host| {
            host.env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        });
        // More spans than the queue holds.
        for _ in 0..1_000 {
            assert_eq!(host.get("/a/").status, 200);
        }
        let lost = |result: &str| {
            host.metric(
                "galleria_trace_spans_total",
                &[&format!("result=\"{result}\"")],
            )
        };
        eventually("the lost spans are counted", || {
            (lost("dropped") + lost("failed") > 0.0).then_some(())
        });
        assert_eq!(lost("exported"), 0.0);
    }
}

/// An address where every connection gets bytes that belong to no protocol. The thread
/// ends with the test program.
fn nonsense() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // The client may have disconnected.
            let _ = connection.write_all(b"\x00\xff\xfenonsense\r\n\r\n\x80");
        }
    });
    address
}

#[test]
fn requests_that_share_an_instance_have_their_own_traces() {
    let collector = Collector::grpc();
    let host = run(
        &[
            Service::new("call", "call-p3"),
            Service::new("slow", "slow"),
        ],
        |host| host.exporting_to(&collector),
    );
    let trace = |number: u128| format!("{:032x}", 0xabc0_0000 + number);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let host = &host;
            scope.spawn(move || {
                let traceparent = format!("00-{}-{PARENT}-01", trace(number));
                let answer = host.get_with(
                    "/call/?url=http://slow/?ms=100",
                    &[("traceparent", &traceparent)],
                );
                assert_eq!(answer.status, 200);
            });
        }
    });
    for number in 0..16 {
        let spans = collector.trace(&trace(number), |spans| {
            let served = |name: &str| spans.iter().any(|it| it.kind == 2 && it.service == name);
            served("galleria") && served("call") && served("slow")
        });
        check_tree(&spans, PARENT);
    }
}
