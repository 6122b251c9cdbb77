//! Clients that read or send too slowly.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::clients::{PREFACE, closed, connected, get, settings};
use super::{
    closed as closed_for, connections_are_gone, galleria, process, while_neighbour_is_served,
};
use crate::support::{Host, Service, eventually};

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A host that closes connections of clients that stall for a second.
fn start() -> (tempfile::TempDir, Host) {
    let large = Service::new("large", "large-body").memory("512Mi");
    let (folder, host) = galleria(vec![large, Service::new("echo", "echo")]);
    let host = host
        .argument("--client-stall-timeout=1s")
        .argument("--client-body-timeout=1s")
        .argument("--client-idle-timeout=1s")
        .start();
    (folder, host)
}

/// Asserts that slow clients leave nothing behind: instances are free, and memory was
/// bounded.
#[track_caller]
fn assert_nothing_is_left(host: &Host) {
    connections_are_gone(host);
    eventually("the instances are free", || {
        let busy = host.metric("galleria_instances", &["state=\"busy\""]);
        (busy == 0.0).then_some(())
    });
    let resident = process(host, "VmHWM") >> 10;
    assert!(resident < 1_024, "{resident} MiB at its peak");
}

#[test]
fn clients_that_do_not_read_are_disconnected() {
    let (_folder, host) = start();
    let traffic = host.listener(80);
    // Pipelined, without waiting for a response.
    let requests = b"GET /large/?mib=16 HTTP/1.1\r\nhost: test\r\n\r\n".repeat(10);
    let open: Vec<_> = while_neighbour_is_served(&host, || {
        (0..500).map(|_| connected(&traffic, &requests)).collect()
    });
    assert_nothing_is_left(&host);
    drop(open);
}

#[test]
fn http2_streams_whose_window_stays_closed_are_reset() {
    let (_folder, host) = start();
    let traffic = host.listener(80);
    let mut asked = [PREFACE, &settings(INITIAL_WINDOW_SIZE, 0)].concat();
    for number in 0..10 {
        asked.extend(get(2 * number + 1, "/large/?mib=1"));
    }
    let open: Vec<_> = while_neighbour_is_served(&host, || {
        let open: Vec<_> = (0..50).map(|_| connected(&traffic, &asked)).collect();
        for stream in &open {
            closed(stream);
        }
        open
    });
    assert_nothing_is_left(&host);
    assert!(closed_for(&host, "stalled") > 0.0);
    drop(open);
}

#[test]
fn bodies_that_arrive_too_slowly_are_rejected() {
    let (_folder, host) = start();
    let traffic = host.listener(80);
    let head = b"POST /echo/ HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";
    while_neighbour_is_served(&host, || {
        let open: Vec<_> = (0..500).map(|_| connected(&traffic, head)).collect();
        trickle(open);
    });
    assert_nothing_is_left(&host);
}

/// Sends a byte on each connection from time to time until the host has closed all of
/// them.
#[track_caller]
fn trickle(mut open: Vec<TcpStream>) {
    eventually("the host has closed every connection", || {
        open.retain_mut(|stream| stream.write_all(b"x").is_ok());
        std::thread::sleep(Duration::from_millis(200));
        open.is_empty().then_some(())
    });
}
