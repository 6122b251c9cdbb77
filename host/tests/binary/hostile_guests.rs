//! Guests that take what they can get of the host: each has a bound, and its neighbour
//! never notices.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Done, Galleria, Host, Service, eventually, manifests};

/// What the host may have grown by when the hostile guest is done, in MiB: allocators keep
/// some of what they were given back, and a neighbour works meanwhile.
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

/// The most that it had while it was watched.
fn peak(host: &Host) -> u64 {
    let path = format!("/proc/{}/status", host.id());
    let status = std::fs::read_to_string(path).expect("a running host");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.expect("its memory").trim().trim_end_matches(" kB");
    kib.trim().parse::<u64>().expect("a number") / 1024
}

/// Runs `attack` while two clients keep asking the neighbour: none of its requests fails
/// or waits long, and the host has given back what the attack took.
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
                        "the neighbour waited {took:?}"
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _ending = Done(&done);
        attack();
    });
    assert!(
        asked.load(Ordering::Relaxed) > 10,
        "the neighbour was asked"
    );
    eventually("the host has given back what the attack took", || {
        (resident(host) < before + GROWTH_MAX_MIB).then_some(())
    });
}

/// Asks the hostile guest `times` times, from four clients, and lets it answer what it likes.
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
    assert!(
        logged < 500,
        "{logged} lines for as many traps as there are"
    );
    let objects = host.objects("Event");
    assert!(objects.len() < 20, "{} events", objects.len());
    assert_eq!(host.get("/bad/ok").status, 200);
}

#[test]
fn what_a_guest_keeps_outside_its_memory_is_bounded() {
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
    assert!(most < 512, "the host once had {most} MiB more");
    let killed = host.metric("galleria_guest_failures_total", &["reason=\"OOMKilled\""]);
    assert!(killed > 0.0, "it counts as the pod's memory");
    assert_eq!(host.get("/bad/fields?n=50").body, "50 sets\n");
    eventually("all of it is given back", || {
        (host.metric("galleria_memory_bytes", &["workload=\"bad\""]) < 4e6).then_some(())
    });
}

#[test]
fn randomness_and_waiting_by_the_hundred_thousand_cost_the_guest_alone() {
    let host = start([hostile()]);
    assert_eq!(host.get("/bad/random?mib=1").body, "1048576 bytes\n");
    assert_eq!(
        host.get("/bad/random?mib=2").status,
        503,
        "too much at once"
    );
    assert_eq!(host.get("/bad/poll?n=10").body, "1 ready\n");
    beside_a_neighbour(&host, || {
        attack(&host, 40, "/bad/random?mib=64");
        attack(&host, 40, "/bad/poll?n=100000");
    });
}

#[test]
fn ten_thousand_calls_at_once_are_too_many_for_one_instance() {
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
fn flood_of_lines_is_dropped_before_it_hurts() {
    let host = start([hostile()]);
    beside_a_neighbour(&host, || {
        attack(&host, 8, "/bad/flood");
    });
    assert_eq!(host.get("/bad/print?n=10").body, "10 lines\n");
}

#[test]
fn streams_of_wasi_03_that_are_dropped_half_way_are_given_back() {
    let host = start([Service::new("modern", "hello-p3")]);
    attack(&host, 40, "/modern/streams?n=200");
    beside_a_neighbour(&host, || attack(&host, 400, "/modern/streams?n=1000"));
    let trapped = host.metric("galleria_guest_failures_total", &[]);
    assert_eq!(trapped, 0.0, "no request found the tables full");
}
