//! A service may respond without reading the body of the request: the response reaches
//! the caller.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Galleria, Host, Service, manifests};

/// Callers of every kind, and a service that never reads a body.
fn host(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file).start()
}

fn hello() -> Service {
    Service::new("hello", "hello").annotation("galleria.dev/isolation", "instance")
}

/// All calls get the response of the service, and the log shows no aborted call.
#[track_caller]
fn all_arrive(host: &Host, calls: u32, path: &str, expected: &str) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..calls / 4 {
                    let answer = host.get(path);
                    let text = answer.body.as_str();
                    assert_eq!((answer.status, text), (200, expected), "{path}");
                }
            });
        }
    });
    let cut = host.calls().into_iter().find(|call| {
        let flags = call["response_flags"].as_str();
        flags.is_some_and(|flags| flags.contains("DC"))
    });
    assert_eq!(cut, None, "no call was aborted by its caller");
}

#[test]
fn guest_of_wasi_02_keeps_writing_and_gets_the_response() {
    let post = Service::new("post", "post").annotation("galleria.dev/isolation", "instance");
    let host = host(&[post, hello()]);
    for bytes in [0, 1, 100_000, 3_000_000] {
        let path = format!("/post/?url=http://hello/&bytes={bytes}&late");
        all_arrive(&host, 20, &path, "hello\n");
    }
    all_arrive(&host, 200, "/post/?url=http://hello/&bytes=9000", "hello\n");
}

#[test]
fn guest_of_wasi_03_gets_the_response_and_can_write_its_whole_body() {
    let host = host(&[Service::new("modern", "post-p3"), hello()]);
    for bytes in [0, 1, 100_000, 3_000_000] {
        let path = format!("/modern/?url=http://hello/&bytes={bytes}");
        all_arrive(&host, 40, &path, &format!("200 {bytes} hello\n"));
    }
}

#[test]
fn guest_in_javascript_posts_to_a_service_that_does_not_read() {
    let script = Service::new("script", "hello-js").memory("512Mi");
    let host = host(&[script, hello()]);
    let path = "/script/fetch?url=http://hello/&post=300000";
    all_arrive(&host, 100, path, "hello\n");
}

#[test]
fn local_reply_reaches_a_guest_that_is_still_writing() {
    let host = host(&[Service::new("post", "post"), hello()]);
    let answer = host.get("/post/?url=http://nobody.test/&bytes=2000000&late");
    let trouble = answer.body;
    assert_eq!(answer.status, 502, "{trouble}");
    assert!(trouble.starts_with("status 502"), "{trouble}");
}

#[test]
fn mirrored_copy_is_complete_although_the_service_does_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let mut yaml = manifests(&[hello(), Service::new("echo", "echo")]);
    yaml += "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge, namespace: test}
spec:
  hosts: [\"mirrored.test\"]
  gateways: [gateway]
  http:
    - route: [{destination: {host: hello}}]
      mirrors: [{destination: {host: echo}}]
";
    std::fs::write(&file, yaml).expect("a file");
    let host = Galleria::run(file).start();
    let mut client = LateClient::begin(&host, "mirrored.test", "/", "content-length: 200000\r\n");
    client.read_to("hello\n");
    client.0.write_all(&[b'x'; 200_000]).expect("taken");
    let mirrored = host.call("the copy's line", |call| {
        call["destination_workload"] == "test/echo"
    });
    assert_eq!(mirrored["bytes_sent"], 200_000, "echoed whole: {mirrored}");
    assert_eq!(mirrored["response_flags"], "-", "{mirrored}");
}

/// A client that sends its body after it has received the response.
struct LateClient(TcpStream);

impl LateClient {
    fn begin(host: &Host, name: &str, path: &str, headers: &str) -> Self {
        let stream = TcpStream::connect(host.listener(80)).expect("a connection");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a timeout");
        let mut client = Self(stream);
        let head = format!("POST {path} HTTP/1.1\r\nhost: {name}\r\n{headers}\r\n");
        client.0.write_all(head.as_bytes()).expect("sent");
        client
    }

    /// Reads until `end` has been received.
    fn read_to(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).ends_with(end) {
            let mut piece = [0; 4096];
            let count = self.0.read(&mut piece).expect("an answer");
            assert_ne!(
                count,
                0,
                "closed after {:?}",
                String::from_utf8_lossy(&read)
            );
            read.extend_from_slice(&piece[..count]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }
}

#[test]
fn client_that_sends_its_body_late_keeps_its_connection() {
    let host = host(&[hello()]);
    for path in ["/hello/", "/nowhere/"] {
        let mut client = LateClient::begin(&host, "x", path, "content-length: 500000\r\n");
        let ends = if path == "/hello/" {
            "hello\n"
        } else {
            "\r\n\r\n"
        };
        let answer = client.read_to(ends);
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        client.0.write_all(&vec![b'x'; 500_000]).expect("taken");
        let next = "GET /hello/ HTTP/1.1\r\nhost: x\r\n\r\n";
        client.0.write_all(next.as_bytes()).expect("taken");
        let answer = client.read_to("hello\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn client_that_sends_endlessly_after_the_response_is_disconnected() {
    let host = host(&[hello()]);
    let mut client = LateClient::begin(&host, "x", "/hello/", "transfer-encoding: chunked\r\n");
    client.read_to("hello\n");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let sent = (0..1024).find(|_| client.0.write_all(&chunk).is_err());
    assert!(sent.is_some(), "the host read 64 MiB that no service reads");
}

#[test]
fn client_that_expects_100_continue_gets_only_the_response() {
    let host = host(&[hello()]);
    let headers = "content-length: 500000\r\nexpect: 100-continue\r\n";
    let mut client = LateClient::begin(&host, "x", "/hello/", headers);
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).expect("closed");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
