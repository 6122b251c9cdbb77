//! Guests that try to exhaust the host's resources: every resource is limited, and the
//! neighbour is not affected.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

/// How much the host may have grown after the attack, in MiB: allocators keep some freed
/// memory, and a neighbour works at the same time.
const GROWTH_MAX_MIB: u64 = 256;

fn start(services: impl IntoIterator<Item = Service>) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = Service::new("good", "hello").annotation("galleria.dev/isolation", "instance");
    let services: Vec<_> = services.into_iter().chain([good]).collect();
    std::fs::write(&file, manifests(&services)).expect("a file");
    Galleria::run(file)
        .argument("--request-timeout=5s")
        .argument("--idle-timeout=5s")
        .start()
}

/// Resident memory of the host, in MiB.
fn resident(host: &Host) -> u64 {
    let path = format!("/proc/{}/status", host.id());
    let status = std::fs::read_to_string(path).expect("a running host");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.expect("its memory").trim().trim_end_matches(" kB");
    kib.trim().parse::<u64>().expect("a number") / 1024
}

/// The peak of the host's resident memory.
fn peak(host: &Host) -> u64 {
    let path = format!("/proc/{}/status", host.id());
    let status = std::fs::read_to_string(path).expect("a running host");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.expect("its memory").trim().trim_end_matches(" kB");
    kib.trim().parse::<u64>().expect("a number") / 1024
}

/// Runs `attack` while two clients call the neighbour: no request fails or takes long,
/// and the host releases what the attack allocated.
#[track_caller]
fn beside_a_neighbour(host: &Host, attack: impl FnOnce()) {
    let before = resident(host);
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let answer = host.get("/good/");
                    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
                    let took = began.elapsed();
                    assert!(
                        took < Duration::from_secs(3),
                        "a request to the neighbour took {took:?}"
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ending = SetOnDrop(&done);
        attack();
    });
    assert!(
        asked.load(Ordering::Relaxed) > 10,
        "the neighbour was called"
    );
    eventually("the host has released what the attack allocated", || {
        (resident(host) < before + GROWTH_MAX_MIB).then_some(())
    });
}

/// Calls the hostile guest `times` times, from four clients, and ignores its responses.
fn attack(host: &Host, times: u32, path: &str) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..times / 4 {
                    let answer = host.try_get(path, &[]);
                    assert!(answer.is_ok_and(|it| [200, 503, 504].contains(&it.status)));
                }
            });
        }
    });
}

fn hostile() -> Service {
    Service::new("bad", "hostile").annotation("galleria.dev/max-instances", "8")
}

#[test]
fn thousands_of_traps_leave_nothing_behind() {
    let host = start([hostile()]);
    attack(&host, 400, "/bad/trap");
    beside_a_neighbour(&host, || attack(&host, 4_000, "/bad/trap"));
    let counted = host.metric("galleria_guest_failures_total", &["reason=\"Error\""]);
    assert_eq!(counted, 4_400.0);
    let logged = host.stderr().matches("the guest trapped").count();
    assert!(logged < 500, "{logged} lines for 4,400 traps");
    let objects = host.objects("Event");
    assert!(objects.len() < 20, "{} events", objects.len());
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn data_that_a_guest_keeps_in_the_host_is_bounded() {
    let host = start([hostile()]);
    let before = resident(&host);
    beside_a_neighbour(&host, || {
        for path in [
            "/bad/fields?n=4000",
            "/bad/bodies?n=4000",
            "/bad/clocks?n=100000",
        ] {
            attack(&host, 16, path);
        }
    });
    let most = peak(&host) - before;
    assert!(most < 512, "the host grew by {most} MiB");
    let killed = host.metric("galleria_guest_failures_total", &["reason=\"OOMKilled\""]);
    assert!(killed > 0.0, "the data counts as the pod's memory");
    assert_eq!(host.get("/bad/fields?n=50").body, "50 sets\n");
    eventually("the memory is released", || {
        (host.metric("galleria_memory_bytes", &["workload=\"bad\""]) < 4e6).then_some(())
    });
}

#[test]
fn huge_requests_for_randomness_and_polls_affect_only_the_guest() {
    let host = start([hostile()]);
    assert_eq!(host.get("/bad/random?mib=1").body, "1048576 bytes\n");
    assert_eq!(
        host.get("/bad/random?mib=2").status,
        503,
        "more than one call may request"
    );
    assert_eq!(host.get("/bad/poll?n=10").body, "1 ready\n");
    beside_a_neighbour(&host, || {
        attack(&host, 40, "/bad/random?mib=64");
        attack(&host, 40, "/bad/poll?n=100000");
    });
}

#[test]
fn concurrent_calls_of_one_instance_are_limited() {
    let slow = Service::new("slow", "slow").annotation("galleria.dev/max-instances", "4");
    let host = start([hostile(), slow]);
    let answer = host.get("/bad/calls?n=100&url=http://good/");
    assert_eq!(answer.body, "100 answered, 0 refused\n");
    beside_a_neighbour(&host, || {
        let answer = host.get("/bad/calls?n=2000&url=http://slow/?ms=20");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let numbers: Vec<u32> = answer
            .body
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let [answered, refused] = numbers[..] else {
            panic!("{}", answer.body);
        };
        assert!(answered >= 256 && refused > 0, "{}", answer.body);
        attack(&host, 8, "/bad/calls?n=10000&url=http://slow/?ms=20");
    });
}

#[test]
fn flood_of_log_lines_does_not_affect_the_neighbour() {
    let host = start([hostile()]);
    beside_a_neighbour(&host, || {
        attack(&host, 8, "/bad/flood");
    });
    assert_eq!(host.get("/bad/print?n=10").body, "10 lines\n");
}

#[test]
fn streams_of_wasi_03_that_are_dropped_halfway_are_released() {
    let host = start([Service::new("modern", "hello-p3")]);
    attack(&host, 40, "/modern/streams?n=200");
    beside_a_neighbour(&host, || attack(&host, 400, "/modern/streams?n=1000"));
    let trapped = host.metric("galleria_guest_failures_total", &[]);
    assert_eq!(trapped, 0.0, "no request fails because of full tables");
}
