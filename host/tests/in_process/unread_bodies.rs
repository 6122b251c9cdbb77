//! A service may respond without reading the body of the request: the response reaches
//! the caller.

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::testing::{Host, PATIENCE, Service, manifests};

/// Callers of every kind, and a service that never reads a body.
async fn host(services: &[Service]) -> Host {
    Host::start(&manifests(services)).await
}

fn hello() -> Service {
    Service::new("hello", "hello").annotation("galleria.dev/isolation", "instance")
}

/// All calls get the response of the service, and the log shows no aborted call.
async fn all_arrive(host: &Host, calls: u32, path: &str, expected: &str) {
    let clients = (0..4).map(async |_| {
        let mut client = host.client(80).await;
        for _ in 0..calls / 4 {
            let answer = client.get(path).await;
            let text = answer.body.as_str();
            assert_eq!((answer.status, text), (200, expected), "{path}");
        }
    });
    join_all(clients).await;
    let cut = host.calls().into_iter().find(|call| {
        let flags = call["response_flags"].as_str();
        flags.is_some_and(|flags| flags.contains("DC"))
    });
    assert_eq!(cut, None, "no call was aborted by its caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_of_wasi_02_keeps_writing_and_gets_the_response() {
    let post = Service::new("post", "post").annotation("galleria.dev/isolation", "instance");
    let host = host(&[post, hello()]).await;
    for bytes in [0, 1, 100_000, 3_000_000] {
        let path = format!("/post/?url=http://hello/&bytes={bytes}&late");
        all_arrive(&host, 20, &path, "hello\n").await;
    }
    all_arrive(&host, 200, "/post/?url=http://hello/&bytes=9000", "hello\n").await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_of_wasi_03_gets_the_response_and_can_write_its_whole_body() {
    let host = host(&[Service::new("modern", "post-p3"), hello()]).await;
    for bytes in [0, 1, 100_000, 3_000_000] {
        let path = format!("/modern/?url=http://hello/&bytes={bytes}");
        all_arrive(&host, 40, &path, &format!("200 {bytes} hello\n")).await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_in_javascript_posts_to_a_service_that_does_not_read() {
    let script = Service::new("script", "hello-js").memory("512Mi");
    let host = host(&[script, hello()]).await;
    let path = "/script/fetch?url=http://hello/&post=300000";
    all_arrive(&host, 100, path, "hello\n").await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_reply_reaches_a_guest_that_is_still_writing() {
    let host = host(&[Service::new("post", "post"), hello()]).await;
    let answer = host
        .get("/post/?url=http://nobody.test/&bytes=2000000&late")
        .await;
    let trouble = answer.body;
    assert_eq!(answer.status, 502, "{trouble}");
    assert!(trouble.starts_with("status 502"), "{trouble}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrored_copy_is_complete_although_the_service_does_not_read() {
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
    let host = Host::start(&yaml).await;
    let mut client =
        LateClient::begin(&host, "mirrored.test", "/", "content-length: 200000\r\n").await;
    client.read_to("hello\n").await;
    client.write(&[b'x'; 200_000]).await;
    let mirrored = host
        .call("the copy's line", |call| {
            call["destination_workload"] == "test/echo"
        })
        .await;
    assert_eq!(mirrored["bytes_sent"], 200_000, "echoed whole: {mirrored}");
    assert_eq!(mirrored["response_flags"], "-", "{mirrored}");
    drop(client);
    host.stop().await;
}

/// A client that sends its body after it has received the response.
struct LateClient(DuplexStream);

impl LateClient {
    async fn begin(host: &Host, name: &str, path: &str, headers: &str) -> Self {
        let mut client = Self(host.connect(80).await);
        let head = format!("POST {path} HTTP/1.1\r\nhost: {name}\r\n{headers}\r\n");
        client.write(head.as_bytes()).await;
        client
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("taken");
    }

    /// Reads until `end` has been received.
    async fn read_to(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).ends_with(end) {
            let mut piece = [0; 4096];
            let reading = timeout(PATIENCE, self.0.read(&mut piece)).await;
            let count = reading.expect("an answer").expect("an answer");
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

#[tokio::test(flavor = "multi_thread")]
async fn client_that_sends_its_body_late_keeps_its_connection() {
    let host = host(&[hello()]).await;
    for path in ["/hello/", "/nowhere/"] {
        let mut client = LateClient::begin(&host, "x", path, "content-length: 500000\r\n").await;
        let ends = if path == "/hello/" {
            "hello\n"
        } else {
            "\r\n\r\n"
        };
        let answer = client.read_to(ends).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        client.write(&vec![b'x'; 500_000]).await;
        let next = "GET /hello/ HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write(next.as_bytes()).await;
        let answer = client.read_to("hello\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_sends_endlessly_after_the_response_is_disconnected() {
    let host = host(&[hello()]).await;
    let mut client =
        LateClient::begin(&host, "x", "/hello/", "transfer-encoding: chunked\r\n").await;
    client.read_to("hello\n").await;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    for _ in 0..1024 {
        if client.0.write_all(&chunk).await.is_err() {
            return host.stop().await;
        }
    }
    panic!("the host read 64 MiB that no service reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_expects_100_continue_gets_only_the_response() {
    let host = host(&[hello()]).await;
    let headers = "content-length: 500000\r\nexpect: 100-continue\r\n";
    let mut client = LateClient::begin(&host, "x", "/hello/", headers).await;
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).await.expect("closed");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(client);
    host.stop().await;
}
