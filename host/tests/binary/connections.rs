//! Clients that are silent, slow or too many affect only their own connections, not those
//! of a neighbour.

mod clients;
mod silent;
mod slow;
mod stop;

use std::io::BufReader;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

/// A host with `services` and a well-behaved neighbour, `good`.
fn galleria(services: Vec<Service>) -> (tempfile::TempDir, Galleria) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = Service::new("good", "hello").annotation("galleria.dev/isolation", "instance");
    let services: Vec<_> = services.into_iter().chain([good]).collect();
    std::fs::write(&file, manifests(&services)).expect("a file");
    let host = Galleria::run(file);
    (folder, host)
}

/// Sends requests to the neighbour, on a kept connection and on new ones, while
/// `misbehave` runs. No request fails and none takes long.
#[track_caller]
fn while_neighbour_is_served<T>(host: &Host, misbehave: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let address = host.listener(80);
    std::thread::scope(|scope| {
        let neighbours = [true, false].map(|keeps| {
            let (address, done) = (&address, &done);
            scope.spawn(move || keep_asking(address, keeps, done))
        });
        let ending = SetOnDrop(&done);
        let result = misbehave();
        drop(ending);
        for neighbour in neighbours {
            let (asked, slowest) = neighbour.join().expect("no failure");
            assert!(asked > 0);
            // A generous limit: other tests run at the same time on two cores.
            assert!(
                slowest < Duration::from_secs(10),
                "the slowest request to the neighbour took {slowest:?}"
            );
        }
        result
    })
}

/// A client that pauses longer than this between requests may find its connection closed:
/// less than half of the idle timeout that the tests set.
const LATE: Duration = Duration::from_millis(400);

/// Returns the number of requests and the duration of the slowest.
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
            // The test itself got no CPU time for that long.
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

/// Waits until only the neighbour's connections are open.
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
