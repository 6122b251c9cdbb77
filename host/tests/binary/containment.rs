//! Guests that misbehave are contained, and their neighbour is not affected.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

/// A misbehaving guest next to a good one.
fn start_with_neighbour(guest: Service) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = Service::new("good", "hello").annotation("galleria.dev/isolation", "instance");
    std::fs::write(&file, manifests(&[guest, good])).expect("a file");
    Galleria::run(file)
        .argument("--request-timeout=2s")
        .argument("--idle-timeout=2s")
        .argument("--restart-backoff-initial=100ms")
        .start()
}

/// Sends requests to the neighbour while `misbehave` runs; none fails and none takes
/// long.
#[track_caller]
fn while_neighbour_is_served(host: &Host, misbehave: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let neighbours: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut slowest = Duration::ZERO;
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) || asked == 0 {
                        let began = Instant::now();
                        let answer = host.get("/good/");
                        assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
                        slowest = slowest.max(began.elapsed());
                        asked += 1;
                    }
                    (asked, slowest)
                })
            })
            .collect();
        let ending = SetOnDrop(&done);
        misbehave();
        drop(ending);
        neighbours
            .into_iter()
            .map(|neighbour| neighbour.join().expect("no failure"))
            .collect::<Vec<_>>()
    });
    for (asked, slowest) in asked {
        assert!(asked > 0);
        // A generous limit: other tests run at the same time on two cores.
        assert!(
            slowest < Duration::from_secs(5),
            "the slowest request to the neighbour took {slowest:?}"
        );
    }
}

#[track_caller]
fn failures(host: &Host, reason: &str, count: f64) {
    eventually(&format!("{count} failures for {reason}"), || {
        let counted = host.metric(
            "galleria_guest_failures_total",
            &[&format!("reason=\"{reason}\"")],
        );
        (counted >= count).then_some(())
    });
}

#[test]
fn endless_loop_is_stopped_at_the_deadline() {
    let host = start_with_neighbour(Service::new("bad", "loop-forever"));
    while_neighbour_is_served(&host, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let answer = host.get("/bad/");
                    assert_eq!(answer.status, 504, "{}", answer.body);
                    assert_eq!(answer.body, "upstream request timeout");
                });
            }
        });
    });
    failures(&host, "DeadlineExceeded", 4.0);
    let call = host.call("the loop's line", |call| call["path"] == "/bad/");
    assert_eq!(call["response_flags"], "UT");
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn endless_allocation_is_killed_at_the_pods_limit() {
    let bad = Service::new("bad", "allocate").memory("32Mi");
    // Allocating takes its time while other tests use the cores.
    let host = start_with_neighbour(bad.annotation("galleria.dev/request-timeout", "60s"));
    while_neighbour_is_served(&host, || {
        for _ in 0..3 {
            let answer = host.get("/bad/allocate");
            assert_eq!(answer.status, 503, "{}", answer.body);
        }
    });
    failures(&host, "OOMKilled", 3.0);
    let call = host.call("the allocator's line", |call| {
        call["path"] == "/bad/allocate"
    });
    assert_eq!(call["response_flags"], "UC");
    assert_eq!(host.get("/bad/allocate?mib=8").body.trim(), "8 MiB");
    eventually("its memory is released", || {
        (host.metric("galleria_memory_bytes", &["workload=\"bad\""]) < 4e6).then_some(())
    });
}

#[test]
fn trap_causes_one_failure_and_one_log_line() {
    let host = start_with_neighbour(
        Service::new("bad", "trap").annotation("galleria.dev/isolation", "instance"),
    );
    assert_eq!(host.get("/bad/ok").status, 200);
    while_neighbour_is_served(&host, || {
        let answer = host.get("/bad/");
        assert_eq!(answer.status, 503);
        assert!(
            answer.body.contains("connection termination"),
            "{}",
            answer.body
        );
    });
    assert_eq!(host.get("/bad/ok").status, 200);
    failures(&host, "Error", 1.0);
    let lines = host
        .stderr()
        .lines()
        .filter(|line| line.contains("the guest trapped"))
        .count();
    assert_eq!(lines, 1, "{}", host.stderr());
}

#[test]
fn trap_during_the_body_closes_the_connection() {
    let host = start_with_neighbour(Service::new("bad", "trap-mid-body"));
    while_neighbour_is_served(&host, || {
        // The status was sent already; the body must not look complete.
        assert!(host.try_get("/bad/", &[]).is_err());
    });
    failures(&host, "Error", 1.0);
    let call = host.call("the line of the broken body", |call| {
        call["path"] == "/bad/"
    });
    assert_eq!(
        (call["response_code"].as_u64(), &call["response_flags"]),
        (Some(200), &"UC".into())
    );
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn response_that_stalls_halfway_is_aborted() {
    let host = start_with_neighbour(Service::new("bad", "half-body"));
    while_neighbour_is_served(&host, || assert!(host.try_get("/bad/", &[]).is_err()));
    failures(&host, "DeadlineExceeded", 1.0);
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn endless_self_call_is_stopped() {
    let host = start_with_neighbour(Service::new("bad", "recurse").env("SELF_URL", "http://bad/"));
    while_neighbour_is_served(&host, || {
        let answer = host.get("/bad/");
        assert_eq!(answer.status, 508, "{}", answer.body);
    });
    let refused = host.call("the refused call", |call| {
        call["response_code_details"] == "call_depth_exceeded"
    });
    assert_eq!(refused["source_workload"], "test/bad");
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn endless_recursion_traps() {
    let host = start_with_neighbour(Service::new("bad", "deep-stack"));
    while_neighbour_is_served(&host, || assert_eq!(host.get("/bad/").status, 503));
    failures(&host, "Error", 1.0);
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn leaked_handles_end_the_leaking_instance() {
    let host = start_with_neighbour(
        Service::new("bad", "leak").annotation("galleria.dev/isolation", "instance"),
    );
    assert_eq!(host.get("/bad/?n=100").status, 200);
    while_neighbour_is_served(&host, || assert_eq!(host.get("/bad/?n=20000").status, 503));
    assert_eq!(host.get("/bad/?n=100").status, 200);
}

#[test]
fn full_queue_refuses_immediately() {
    let slow = Service::new("bad", "slow")
        .annotation("galleria.dev/max-instances", "1")
        .annotation("galleria.dev/max-queue", "1");
    let host = start_with_neighbour(slow);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| host.get("/bad/?ms=700")))
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().expect("an answer"))
            .collect()
    });
    let (good, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(good.len(), 2, "one served, one queued");
    for answer in refused {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("x-envoy-overloaded"), "true");
    }
    host.call("an overflow's line", |call| {
        call["response_flags"]
            .as_str()
            .is_some_and(|flags| flags.contains("UO"))
    });
}

#[test]
fn product_page_works_while_the_review_service_traps() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    for file in std::fs::read_dir(shop).expect("the shop") {
        let file = file.expect("a file");
        let text = std::fs::read_to_string(file.path()).expect("text");
        let text = text
            .replace("galleria/review:v1", "trap")
            .replace("galleria/review:v2", "trap");
        std::fs::write(folder.path().join(file.file_name()), text).expect("a file");
    }
    let components = tempfile::tempdir().expect("a folder");
    for name in ["ui", "product", "ratings"] {
        let target = components.path().join(name);
        std::os::unix::fs::symlink(crate::support::shop_components().join(name), target)
            .expect("a link");
    }
    std::fs::copy(
        crate::support::test_components().join("trap.wasm"),
        components.path().join("trap.wasm"),
    )
    .expect("the trapping guest");
    let host = Galleria::run(folder.path())
        .components(components.path())
        .start();
    let answer = host.get("/productms/product/catalogue/1");
    assert_eq!(answer.status, 200);
    let envelope = answer.json();
    assert_eq!(envelope["version"], "Product v1");
    assert!(envelope["response"]["reviews"].is_null(), "{}", answer.body);
    assert_eq!(host.get("/ui/product/1").status, 200);
    failures(&host, "Error", 1.0);
    assert_eq!(host.get("/productms/product/version").status, 200);
}

#[test]
fn guest_forwards_a_streamed_response_of_another_guest() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let services = [
        Service::new("caller", "call"),
        Service::new("modern", "call-p3"),
        Service::new("large", "large-body"),
    ];
    std::fs::write(&file, manifests(&services)).expect("a file");
    let host = Galleria::run(file).start();
    for caller in ["caller", "modern"] {
        let answer = host.get(&format!("/{caller}/?url=http://large/?mib=3"));
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, 3 << 20),
            "{caller}"
        );
    }
}

#[test]
fn burst_of_traps_is_counted_and_pods_recover() {
    let host = start_with_neighbour(Service::new("bad", "trap").replicas(2));
    while_neighbour_is_served(&host, || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(host.get("/bad/").status, 503);
                    }
                });
            }
        });
    });
    failures(&host, "Error", 200.0);
    let ready = host.metric("galleria_pod_ready", &["workload=\"bad\""]);
    assert_eq!(ready, 2.0, "the pods keep running");
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn endless_output_is_stopped_at_the_deadline() {
    let host = start_with_neighbour(Service::new("bad", "print-forever"));
    while_neighbour_is_served(&host, || {
        for path in ["/bad/", "/bad/line"] {
            assert_eq!(host.get(path).status, 504, "{path}");
        }
    });
    failures(&host, "DeadlineExceeded", 2.0);
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn too_many_or_too_large_headers_fail_only_their_response() {
    let host = start_with_neighbour(Service::new("bad", "headers"));
    assert_eq!(host.get("/bad/?n=50&length=100").status, 200);
    let many = [
        "n=100000",
        "n=100000&same",
        "length=10000000",
        "n=20&length=20000",
    ];
    while_neighbour_is_served(&host, || {
        for query in many {
            assert_eq!(host.get(&format!("/bad/?{query}")).status, 503, "{query}");
        }
    });
    failures(&host, "Error", 4.0);
    assert_eq!(host.get("/bad/").status, 200);
}

#[test]
fn endless_start_is_aborted_while_the_neighbour_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = || Service::new("good", "hello");
    std::fs::write(&file, manifests(&[good()])).expect("a file");
    let host = Galleria::run(folder.path())
        .argument("--request-timeout=1s")
        .argument("--restart-backoff-initial=100ms")
        .start();
    let bad = Service::new("bad", "start-forever");
    std::fs::write(&file, manifests(&[good(), bad])).expect("a file");
    while_neighbour_is_served(&host, || {
        eventually("the pod is in back-off", || {
            let page = host.status_page(&[]).stdout;
            (page.contains("CrashLoopBackOff") && page.contains("DeadlineExceeded")).then_some(())
        });
        assert_eq!(host.get("/bad/").status, 503, "no endpoint");
    });
}

#[test]
fn pod_can_set_its_own_request_timeout() {
    let host = start_with_neighbour(
        Service::new("bad", "loop-forever").annotation("galleria.dev/request-timeout", "200ms"),
    );
    let began = Instant::now();
    assert_eq!(host.get("/bad/").status, 504);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "not the host's 2s"
    );
}
