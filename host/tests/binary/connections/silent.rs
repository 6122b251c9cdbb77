//! Connections that send nothing, or never complete what they send.

use std::io::{BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::clients::{
    PREFACE, answer, closed, connected, continuation, frame, get, reset, settings, unended_head,
};
use super::{closed as closed_for, connections_are_gone, galleria, while_neighbour_is_served};
use crate::support::{Host, eventually, kubectl};

/// Opens `count` connections that send nothing. Some may be closed by the host right
/// away.
fn silent(address: &str, count: usize) -> Vec<TcpStream> {
    let connect = |_| connected(address, b"");
    (0..count).map(connect).collect()
}

/// Asserts that the status and admin ports respond.
fn owner_gets_in(host: &Host) {
    assert_eq!(host.status("/healthz/live").status, 200);
    assert_eq!(host.status("/healthz/ready").status, 200);
    assert_eq!(host.status_page(&[]).code, Some(0));
    assert_eq!(kubectl(host, &["get", "--raw", "/readyz"]), "ok");
}

#[test]
fn silent_connections_on_every_port_lock_out_no_client() {
    let (_folder, host) = galleria(Vec::new());
    let host = host.descriptors(1_024).start();
    let ports = [
        host.listener(80),
        host.status_address(),
        host.admin_address(),
    ];
    let _silent = while_neighbour_is_served(&host, || {
        let silent: Vec<_> = ports.iter().map(|port| silent(port, 1_200)).collect();
        owner_gets_in(&host);
        silent
    });
    assert!(
        closed_for(&host, "evicted") > 0.0,
        "silent connections were closed"
    );
}

#[test]
fn ten_thousand_silent_connections_are_closed_while_the_neighbour_is_served() {
    let (_folder, host) = galleria(Vec::new());
    let host = host.argument("--client-head-timeout=3s").start();
    let traffic = host.listener(80);
    let _silent = while_neighbour_is_served(&host, || {
        let silent = silent(&traffic, 10_000);
        owner_gets_in(&host);
        silent
    });
    // Some may still be in the backlog.
    eventually("all were closed", || {
        let gone = closed_for(&host, "head_timeout") + closed_for(&host, "evicted");
        (gone >= 10_000.0).then_some(())
    });
    connections_are_gone(&host);
}

#[test]
fn incomplete_request_closes_its_connection_in_time() {
    let (_folder, host) = galleria(Vec::new());
    let host = host
        .argument("--client-head-timeout=1s")
        .argument("--client-idle-timeout=1s")
        .start();
    let traffic = host.listener(80);
    let begun = [PREFACE, &settings(3, 100)].concat();
    let head = get(1, "/good/");
    let half_head = &head[..head.len() - 4];
    let request = b"GET /good/ HTTP/1.1\r\nhost: test\r\n\r\n";
    let kinds: [&[u8]; 11] = [
        b"",
        b"P",
        b"PRI * HTT",
        &PREFACE[..23],
        PREFACE,
        // No request, half a request, and a head without an end.
        &begun,
        &[&begun[..], half_head].concat(),
        &[&begun[..], &unended_head(1, "/good/"), &continuation(1)].concat(),
        b"GET /good/ HT",
        b"GET /good/ HTTP/1.1\r\nhost: test\r\nx: ",
        // A complete request first.
        &[request, &b"GET /go"[..]].concat(),
    ];
    while_neighbour_is_served(&host, || {
        let open: Vec<_> = kinds
            .iter()
            .flat_map(|first| (0..20).map(|_| connected(&traffic, first)))
            .collect();
        for stream in &open {
            closed(stream);
        }
    });
    connections_are_gone(&host);
}

#[test]
fn clients_within_their_deadline_are_served_after_the_host_was_paused() {
    let (_folder, host) = galleria(Vec::new());
    let host = host
        .argument("--client-head-timeout=1s")
        .argument("--client-idle-timeout=1s")
        .start();
    let request = b"GET /good/ HTTP/1.1\r\nhost: test\r\n\r\n";
    let kinds = [0, 1, request.len() / 2, request.len()].repeat(25);
    let mut open: Vec<_> = kinds
        .iter()
        .map(|said| BufReader::new(connected(&host.listener(80), &request[..*said])))
        .collect();
    eventually(
        "they are accepted, and the complete requests answered",
        || {
            let accepted = host.metric("galleria_connections", &["port=\"80\""]);
            (accepted >= open.len() as f64).then_some(())
        },
    );
    for (stream, said) in open.iter_mut().zip(&kinds) {
        if *said == request.len() {
            assert_eq!(
                answer(stream)
                    .expect("no failure")
                    .expect("an answer")
                    .status,
                200
            );
        }
    }
    host.while_paused(|| {
        for (stream, said) in open.iter_mut().zip(&kinds) {
            let rest = &request[said % request.len()..];
            stream.get_mut().write_all(rest).expect("a connection");
        }
        // Longer than any timeout of the host.
        std::thread::sleep(Duration::from_millis(1_500));
    });
    for (stream, said) in open.iter_mut().zip(&kinds) {
        let answer = answer(stream).expect("no failure");
        assert_eq!(answer.map(|it| it.status), Some(200), "after {said} bytes");
    }
}

#[test]
fn silent_tls_connections_are_closed_at_the_handshake_timeout() {
    let (_folder, host) = galleria(Vec::new());
    let host = host.argument("--client-head-timeout=1s").start();
    let hello = [0x16, 3, 1, 0, 200, 1];
    let open: Vec<_> = (0..100)
        .map(|number| {
            connected(
                &host.admin_address(),
                if number % 2 == 0 { b"" } else { &hello },
            )
        })
        .collect();
    owner_gets_in(&host);
    for stream in &open {
        closed(stream);
    }
}

#[test]
fn flood_of_stream_resets_closes_the_connection() {
    let (_folder, host) = galleria(Vec::new());
    let host = host.start();
    let traffic = host.listener(80);
    while_neighbour_is_served(&host, || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let stream = connected(&traffic, &[PREFACE, &frame(4, 0, 0, &[])].concat());
                    let flood: Vec<u8> = (0..10_000)
                        .map(|number| 2 * number + 1)
                        .flat_map(|id| [get(id, "/good/"), reset(id)].concat())
                        .collect();
                    // The host may close the connection during the write.
                    let _ = (&stream).write_all(&flood);
                    let _ = stream.shutdown(Shutdown::Write);
                    closed(&stream);
                });
            }
        });
    });
    connections_are_gone(&host);
    eventually("the connection and its requests are gone", || {
        let busy = host.metric("galleria_instances", &["state=\"busy\""]);
        (busy == 0.0).then_some(())
    });
}
