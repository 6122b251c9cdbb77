//! CPU time: counted per pod.

use crate::support::{Galleria, Host, Service, manifests};

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
fn time_in_guest_code_is_counted_and_time_of_waiting_is_not() {
    let host = start(&[
        Service::new("classic", "spin"),
        Service::new("kept", "spin").annotation("galleria.dev/isolation", "instance"),
        Service::new("modern", "hello-p3"),
    ]);
    for workload in ["classic", "kept", "modern"] {
        let before = cpu_seconds(&host, workload);
        assert_eq!(host.get(&format!("/{workload}/spin?ms=400")).status, 200);
        let used = cpu_seconds(&host, workload) - before;
        // Yields to others are no time of its own, so it may be less than 0.4.
        assert!((0.1..1.0).contains(&used), "{workload} used {used} s");
    }
    let before = cpu_seconds(&host, "modern");
    assert_eq!(host.get("/modern/sleep?ms=400").status, 200);
    let used = cpu_seconds(&host, "modern") - before;
    assert!(used < 0.1, "a sleeper used {used} s");
}
