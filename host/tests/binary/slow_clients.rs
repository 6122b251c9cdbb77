//! Clients that read or send slowly, or not at all: they affect only their own response.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::apart::{self, Pod};
use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

fn start(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file).start()
}

fn connect(host: &Host) -> TcpStream {
    TcpStream::connect(host.listener(80)).expect("a connection")
}

/// A client that requests `path` and does not read the response.
fn silent_reader(host: &Host, path: &str) -> TcpStream {
    let mut stream = connect(host);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("a request");
    stream
}

/// An HTTP/2 client that requests `path` ten times on one connection without allowing the
/// host to send: its settings have INITIAL_WINDOW_SIZE 0.
fn silent_h2_reader(host: &Host, path: &str) -> TcpStream {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, 4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in 0..10 {
        // From the static table: GET, http; literals without indexing: path and
        // authority.
        let mut head = vec![0x82, 0x86];
        for (name, value) in [(4, path), (1, "localhost")] {
            head.extend([name, u8::try_from(value.len()).expect("short")]);
            head.extend(value.as_bytes());
        }
        frame(&mut bytes, 1, 5, stream * 2 + 1, &head);
    }
    let mut stream = connect(host);
    stream.write_all(&bytes).expect("requests");
    stream
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    bytes.extend(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// Requests `paths` in turn during `attack`; every request is answered in time.
#[track_caller]
fn while_neighbours_are_served(host: &Host, paths: &[&str], attack: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) || waits.len() < paths.len() {
                for path in paths {
                    let began = Instant::now();
                    let answer = host.get(path);
                    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                    waits.push(began.elapsed());
                }
            }
            waits
        });
        let ending = SetOnDrop(&done);
        attack();
        drop(ending);
        let mut waits = asking.join().expect("no failure");
        waits.sort();
        let p99 = waits[waits.len() * 99 / 100 - usize::from(waits.len() >= 100)];
        // A generous limit: other tests run at the same time on two cores. Stalled
        // neighbours would wait as long as the attack lasts.
        assert!(p99 < Duration::from_secs(2), "p99 {p99:?}");
    });
}

/// Keeps the attackers connected long enough for a stalled neighbour to be noticed.
fn hold<T>(attackers: Vec<T>) {
    let began = Instant::now();
    eventually("the attack has lasted", || {
        (began.elapsed() > Duration::from_secs(3)).then_some(())
    });
    drop(attackers);
}

#[test]
fn clients_that_never_read_stall_no_other_client() {
    let host = start(&[
        Service::new("large", "large-body"),
        Service::new("computing", "spin").annotation("galleria.dev/isolation", "instance"),
        Service::new("limited", "spin").cpu("1000m"),
        Service::new("light", "hello"),
    ]);
    // Each has computed for longer than a tick.
    for path in ["/computing/spin?ms=30", "/limited/spin?ms=30"] {
        assert_eq!(host.get(path).status, 200);
    }
    let neighbours = ["/computing/spin?ms=12", "/limited/spin?ms=12", "/light/"];
    for attacker in [silent_reader, silent_h2_reader] {
        while_neighbours_are_served(&host, &neighbours, || {
            let attackers = (0..16).map(|_| attacker(&host, "/large/?mib=64"));
            hold(attackers.collect());
        });
    }
    eventually("their responses are aborted", || {
        let busy = host.metric(
            "galleria_instances",
            &["workload=\"large\"", "state=\"busy\""],
        );
        (busy == 0.0).then_some(())
    });
}

#[test]
fn unread_responses_of_computing_guests_stall_no_other_client() {
    let host = start(&[
        Service::new("hungry", "large-body").cpu("200m"),
        Service::new("computing", "spin"),
        Service::new("light", "hello"),
    ]);
    assert_eq!(host.get("/computing/spin?ms=30").status, 200);
    while_neighbours_are_served(&host, &["/computing/spin?ms=12", "/light/"], || {
        let attackers = (0..16).map(|_| silent_reader(&host, "/hungry/?mib=64"));
        hold(attackers.collect());
    });
}

#[test]
fn instance_is_free_when_its_guest_is_done() {
    // The response is larger than the socket buffers of a connection.
    let host = start(&[Service::new("large", "large-body")
        .annotation("galleria.dev/max-instances", "1")
        .annotation("galleria.dev/isolation", "instance")]);
    let _reader = silent_reader(&host, "/large/?kib=100");
    let busy = || {
        host.metric(
            "galleria_instances",
            &["workload=\"large\"", "state=\"busy\""],
        )
    };
    eventually("the guest has responded", || {
        let asked = host.metric("galleria_instances_started_total", &["workload=\"large\""]);
        (asked >= 1.0 && busy() == 0.0).then_some(())
    });
    let began = Instant::now();
    assert_eq!(host.get("/large/?kib=1").body.len(), 1 << 10);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn slow_reader_loses_its_instance_to_a_waiting_request() {
    for guest in ["large-body", "call-p3"] {
        let host = start(&[
            Service::new("asked", guest)
                .annotation("galleria.dev/max-instances", "1")
                .annotation("galleria.dev/max-queue", "1"),
            Service::new("source", "large-body"),
        ]);
        let path = match guest {
            "call-p3" => "/asked/?url=http://source/?mib=64",
            _ => "/asked/?mib=64",
        };
        let _readers = [silent_reader(&host, path), silent_reader(&host, path)];
        eventually("another request gets the instance", || {
            let answer = host.get(&path.replace("mib=64", "kib=1"));
            (answer.status == 200 && answer.body.len() == 1 << 10).then_some(())
        });
    }
}

#[test]
fn slow_senders_do_not_keep_an_instance_that_others_need() {
    let host = start(&[Service::new("echo", "echo").annotation("galleria.dev/max-instances", "1")]);
    let mut slow: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(&host);
            let head = "POST /echo/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nx";
            stream.write_all(head.as_bytes()).expect("half a request");
            stream
        })
        .collect();
    for _ in 0..20 {
        let began = Instant::now();
        let answer = host.post("/echo/", &serde_json::json!({"order": 66}));
        assert_eq!(answer.status, 200);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    // As long as no other request needs the instance, a slow sender is served normally.
    let mut stream = connect(&host);
    stream
        .write_all(b"POST /echo/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nx")
        .expect("half a request");
    drop(slow.drain(..));
    let began = Instant::now();
    eventually("its body is late", || {
        (began.elapsed() > Duration::from_millis(1_500)).then_some(())
    });
    stream.write_all(b"y").expect("the rest");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn stalled_sender_loses_its_instance_to_a_waiting_request() {
    let host = start(&[Service::new("echo", "echo").annotation("galleria.dev/max-instances", "1")]);
    let mut stream = connect(&host);
    let head = "POST /echo/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("a head");
    stream.write_all(&[b'x'; 100_000]).expect("a part");
    let busy = || {
        host.metric(
            "galleria_instances",
            &["workload=\"echo\"", "state=\"busy\""],
        )
    };
    eventually("the sender has the instance", || {
        (busy() == 1.0).then_some(())
    });
    let began = Instant::now();
    assert_eq!(host.post("/echo/", &serde_json::json!({})).status, 200);
    assert!(began.elapsed() < Duration::from_secs(10));
    // Its own response, which had started, is aborted.
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).expect("a time limit");
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|it| it.kind() != std::io::ErrorKind::WouldBlock));
    assert!(!answer.ends_with(b"0\r\n\r\n"), "it must not look complete");
}

#[test]
fn slow_readers_at_a_gateway_do_not_block_the_connection_between_hosts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("large", "large-body")])).expect("a file");
    let pod = Pod::of("large");
    let host = || {
        Galleria::run(file.clone())
            .argument(&pod.peer())
            .argument(apart::CALLERS)
    };
    let _host = host().declared_ports().arguments(&pod.arguments()).start();
    let gateway = host().argument("--gateway").start();
    while_neighbours_are_served(&gateway, &["/large/?kib=200"], || {
        let readers = (0..32).map(|_| silent_reader(&gateway, "/large/?mib=64"));
        hold(readers.collect());
    });
}
