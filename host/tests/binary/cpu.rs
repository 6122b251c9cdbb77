//! CPU time: counted per pod, limited per pod, shared between pods.

use std::time::{Duration, Instant};

use crate::support::{Galleria, Host, Service, eventually, manifests};

fn start(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file).start()
}

fn cpu_seconds(host: &Host, workload: &str) -> f64 {
    let label = format!("workload=\"{workload}\"");
    host.metric("galleria_cpu_seconds_total", &[&label])
}

#[test]
fn cpu_time_counts_computing_but_not_waiting() {
    let host = start(&[
        Service::new("classic", "spin"),
        Service::new("kept", "spin").annotation("galleria.dev/isolation", "instance"),
        Service::new("modern", "hello-p3"),
    ]);
    for workload in ["classic", "kept", "modern"] {
        let before = cpu_seconds(&host, workload);
        assert_eq!(host.get(&format!("/{workload}/spin?ms=400")).status, 200);
        let used = cpu_seconds(&host, workload) - before;
        // Time after yielding to other guests does not count, so it can be less than 0.4.
        assert!((0.1..1.0).contains(&used), "{workload} used {used} s");
    }
    let before = cpu_seconds(&host, "modern");
    assert_eq!(host.get("/modern/sleep?ms=400").status, 200);
    let used = cpu_seconds(&host, "modern") - before;
    assert!(used < 0.1, "a sleeping guest used {used} s");
}

fn throttled(host: &Host, workload: &str) -> (f64, f64) {
    let label = format!("workload=\"{workload}\"");
    let sum = |name: &str| host.metric(name, &[&label]);
    (
        sum("galleria_cpu_throttled_periods_total"),
        sum("galleria_cpu_throttled_seconds_total"),
    )
}

/// Calls a light service repeatedly while endless loops run. Returns the elapsed time,
/// and the CPU seconds that the loops used in it.
#[track_caller]
fn light_beside(host: &Host, hungry: &str) -> (f64, f64) {
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| host.get(&format!("/{hungry}/")).status))
            .collect();
        eventually("the loops run", || {
            (cpu_seconds(host, hungry) > 0.05).then_some(())
        });
        let (before, began) = (cpu_seconds(host, hungry), Instant::now());
        let mut waits = Vec::new();
        while began.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            assert_eq!(host.get("/light/").body, "hello\n");
            // A generous limit: other tests run at the same time on two cores.
            let waited = asked.elapsed();
            assert!(
                waited < Duration::from_secs(2),
                "the light service took {waited:?}"
            );
            waits.push(waited);
        }
        // Other tests do not delay every request, but endless loops would: a guest yields
        // at a tick of 5 ms.
        waits.sort();
        let median = waits[waits.len() / 2];
        assert!(
            median < Duration::from_millis(10),
            "the median was {median:?}"
        );
        let used = cpu_seconds(host, hungry) - before;
        let length = began.elapsed().as_secs_f64();
        for ended in loops {
            let status = ended.join().expect("an answer");
            assert_eq!(status, 504, "stopped at the deadline, also while paused");
        }
        (length, used)
    })
}

fn hungry_and_light(hungry: Service) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[hungry, Service::new("light", "hello")])).expect("a file");
    Galleria::run(file).argument("--request-timeout=6s").start()
}

#[test]
fn cpu_limit_pauses_the_pod_but_not_its_neighbour() {
    let host = hungry_and_light(Service::new("hungry", "loop-forever").cpu("200m"));
    let (length, used) = light_beside(&host, "hungry");
    let share = used / length;
    // Turns that four loops began before the budget was used up are subtracted later, so
    // the limit is exact over seconds but not over milliseconds.
    assert!(share < 0.2 + 0.05, "{share} cores instead of 0.2");
    let (periods, seconds) = throttled(&host, "hungry");
    assert!(periods >= 10.0, "{periods} throttled periods");
    assert!(seconds >= 1.0, "{seconds} throttled seconds");
    assert_eq!(throttled(&host, "light"), (0.0, 0.0));
    assert_eq!(host.get("/hungry/ok").status, 200, "paused, not killed");
    assert_eq!(host.metric("galleria_pod_restarts_total", &[]), 0.0);
}

#[test]
fn pod_without_a_cpu_limit_uses_only_idle_cores() {
    let host = hungry_and_light(Service::new("hungry", "loop-forever"));
    let (_, used) = light_beside(&host, "hungry");
    assert!(used > 0.5, "{used} s for four loops in three seconds");
    assert_eq!(throttled(&host, "hungry"), (0.0, 0.0));
}

#[test]
fn cpu_limit_applies_to_short_requests_and_to_wasi_03() {
    let host = start(&[
        Service::new("short", "spin")
            .annotation("galleria.dev/isolation", "instance")
            .cpu("100m"),
        Service::new("modern", "hello-p3").cpu("100m"),
    ]);
    for workload in ["short", "modern"] {
        let path = format!("/{workload}/spin?ms=2");
        let (before, began) = (cpu_seconds(&host, workload), Instant::now());
        while began.elapsed() < Duration::from_secs(3) {
            assert_eq!(host.get(&path).status, 200);
        }
        let share = (cpu_seconds(&host, workload) - before) / began.elapsed().as_secs_f64();
        assert!(share < 0.15, "{workload}: {share} cores instead of 0.1");
        assert!(throttled(&host, workload).0 >= 5.0, "{workload}");
    }
}
