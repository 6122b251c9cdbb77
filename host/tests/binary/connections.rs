//! Clients that are silent, slow or too many: each costs its own connection, and a
//! neighbour never notices.

mod clients;
mod silent;
mod slow;
mod stop;

use std::io::BufReader;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Done, Galleria, Host, Service, eventually, manifests};

/// A host with `services` and a good neighbour, `good`.
fn galleria(services: Vec<Service>) -> (tempfile::TempDir, Galleria) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = Service::new("good", "hello").annotation("galleria.dev/isolation", "instance");
    let services: Vec<_> = services.into_iter().chain([good]).collect();
    std::fs::write(&file, manifests(&services)).expect("a file");
    let host = Galleria::run(file);
    (folder, host)
}

/// Keeps asking the neighbour, on one connection and on a new one each time, while
/// `misbehave` runs: not one request fails, and none waits for long.
#[track_caller]
fn neighbour_is_well_while<T>(host: &Host, misbehave: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let address = host.listener(80);
    std::thread::scope(|scope| {
        let neighbours = [true, false].map(|keeps| {
            let (address, done) = (&address, &done);
            scope.spawn(move || keep_asking(address, keeps, done))
        });
        let ending = Done(&done);
        let result = misbehave();
        drop(ending);
        for neighbour in neighbours {
            let (asked, slowest) = neighbour.join().expect("no failure");
            assert!(asked > 0);
            // Generous: other tests run beside this one on two cores.
            assert!(
                slowest < Duration::from_secs(10),
                "the neighbour once waited {slowest:?}"
            );
        }
        result
    })
}

/// A client that lets so much time pass between its requests may find its connection
/// closed: less than half of what the tests' hosts allow.
const LATE: Duration = Duration::from_millis(400);

/// Returns how many requests there were, and how long the slowest took.
fn keep_asking(address: &str, keeps_connection: bool, done: &AtomicBool) -> (usize, Duration) {
    let connect = || BufReader::new(clients::connected(address, b""));
    let mut slowest = Duration::ZERO;
    let mut asked = 0;
    let mut kept = None;
    while !done.load(Ordering::Relaxed) || asked == 0 {
        let began = Instant::now();
        let (mut stream, since) = kept.take().unwrap_or_else(|| (connect(), Instant::now()));
        let was_late = since.elapsed() > LATE;
        let answer = clients::ask(&mut stream, "/good/");
        if was_late && !matches!(&answer, Ok(Some(answer)) if !answer.closes) {
            // The machine gave this test no core for so long.
            continue;
        }
        let waited = began.elapsed();
        let answer = answer.unwrap_or_else(|error| panic!("{error} after {waited:?}"));
        let answer = answer.unwrap_or_else(|| panic!("closed after {waited:?}"));
        assert!((answer.status, answer.closes) == (200, false));
        slowest = slowest.max(began.elapsed());
        asked += 1;
        if keeps_connection {
            kept = Some((stream, Instant::now()));
        }
    }
    (asked, slowest)
}

/// Waits until only the neighbour's connections are left.
#[track_caller]
fn connections_are_gone(host: &Host) {
    eventually("the connections are gone", || {
        (host.metric("galleria_connections", &["port=\"80\""]) <= 8.0).then_some(())
    });
}

/// How many connections the host closed for `reason`.
fn closed(host: &Host, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    host.metric("galleria_connections_closed_total", &[&reason])
}

/// A number of the host's process, as `/proc` calls it.
fn process(host: &Host, name: &str) -> u64 {
    let path = format!("/proc/{}/status", host.id());
    let status = std::fs::read_to_string(path).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    value.expect("the number").parse().expect("a number")
}
