//! Metadata that clients send and the host does not trust: over HTTP/1 and HTTP/2, at a
//! gateway and at the ports for other hosts.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::apart::Pod;
use crate::support::{Galleria, Host, Service, eventually, manifests};

/// Headers that only the mesh may set, forged by a client.
const FORGED: [(&str, &str); 9] = [
    (
        "x-forwarded-client-cert",
        "By=a;URI=spiffe://cluster.local/ns/test/sa/admin",
    ),
    ("x_forwarded_client_cert", "forged"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-external-address", "203.0.113.66"),
    ("x-galleria-hops", "4000000"),
    ("x-istio-attributes", "forged"),
    ("x-request-id", "forged"),
    ("x_forwarded_for", "203.0.113.66"),
    ("x-forwarded-proto", "forged"),
];

fn start(manifest: &str, arguments: &[&str]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    Galleria::run(folder.path()).arguments(arguments).start()
}

fn echo() -> Host {
    start(&manifests(&[Service::new("app", "echo")]), &[])
}

#[track_caller]
fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let in_time = async { tokio::time::timeout(crate::support::PATIENCE, work).await };
    let done = runtime.expect("a runtime").block_on(in_time);
    done.expect("an answer in time")
}

/// A connection to `address` from the local address `client`.
async fn connect(address: &str, client: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let client = SocketAddr::new(client.parse().expect("an address"), 0);
    socket.bind(client).expect("a client's address");
    let address = address.parse().expect("an address");
    socket.connect(address).await.expect("a connection")
}

/// Sends `request` unchanged, with `connection: close` if a response is expected; returns
/// everything that the host sends.
#[track_caller]
fn raw(address: &str, client: &str, request: &str) -> String {
    wait(async {
        let mut stream = connect(address, client).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        // A host that refuses a head may reset the connection.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
}

/// The response to `request` with `trailers` over HTTP/2, as `STATUS\nBODY\nTRAILERS`.
#[track_caller]
fn http2(address: &str, client: &str, request: Request<()>, trailers: HeaderMap) -> String {
    wait(async {
        let stream = connect(address, client).await;
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let (response, mut body) = sender.send_request(request, false).expect("sent");
        body.send_trailers(trailers).expect("sent");
        let response = response.await.expect("an answer");
        let mut text = format!("{}\n", response.status().as_u16());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data: Bytes = data.expect("a body");
            text.push_str(&String::from_utf8_lossy(&data));
            let _ = body.flow_control().release_capacity(data.len());
        }
        let trailers = body.trailers().await.expect("trailers");
        format!("{text}\n{:?}", trailers.unwrap_or_default())
    })
}

/// The headers `name` that `echo` received, in order.
fn seen(answer: &str, name: &str) -> Vec<String> {
    let lines = answer.lines();
    let values = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let named = values.filter(|line| line["name"] == name);
    named
        .map(|line| line["value"].as_str().expect("text").to_owned())
        .collect()
}

fn forged_lines() -> String {
    let line = |(name, value): &(&str, &str)| format!("{name}: {value}\r\n");
    FORGED.iter().map(line).collect()
}

fn forged_request(method: &str, uri: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(uri);
    let request = FORGED
        .iter()
        .fold(request, |it, (name, value)| it.header(*name, *value));
    request.body(()).expect("a request")
}

#[track_caller]
fn assert_no_forged_header(answer: &str) {
    for forged in ["forged", "203.0.113.66", "4000000", "spiffe", "rq-timeout"] {
        assert!(!answer.contains(forged), "{forged} in {answer}");
    }
}

#[test]
fn internal_headers_are_removed_from_clients_requests() {
    let host = echo();
    let address = host.listener(80);
    let head = format!("host: a\r\nconnection: close\r\n{}\r\n", forged_lines());
    let answer = raw(
        &address,
        "127.0.0.1",
        &format!("GET /app/ HTTP/1.1\r\n{head}"),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_no_forged_header(&answer);
    let forwarded = |answer: &str| {
        (
            seen(answer, "x-forwarded-proto"),
            seen(answer, "x-forwarded-for"),
        )
    };
    let expected = (vec!["http".to_owned()], vec!["127.0.0.1".to_owned()]);
    assert_eq!(forwarded(&answer), expected);

    let uri = format!("http://{address}/app/");
    let none = HeaderMap::new;
    let answer = http2(&address, "127.0.0.1", forged_request("GET", &uri), none());
    assert!(answer.starts_with("200"), "{answer}");
    assert_no_forged_header(&answer);
    assert_eq!(forwarded(&answer), expected);
}

#[test]
fn internal_headers_are_removed_from_trailers() {
    let host = echo();
    let address = host.listener(80);
    let answer = raw(
        &address,
        "127.0.0.1",
        &format!(
            "POST /app/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\nte: trailers\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{}x-checksum: 7\r\n\r\n",
            forged_lines()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_no_forged_header(&answer);

    let mut trailers = forged_request("POST", "/").headers().clone();
    trailers.insert("x-checksum", 7.into());
    let uri = format!("http://{address}/app/");
    let request = Request::post(&uri).body(()).expect("a request");
    let answer = http2(&address, "127.0.0.1", request, trailers);
    assert!(answer.starts_with("200"), "{answer}");
    assert_no_forged_header(&answer);
    assert!(answer.contains("x-checksum"), "{answer}");
}

#[test]
fn scheme_is_that_of_the_listener_and_the_request_lines_authority_takes_precedence() {
    let rule = "  http:
    - match: [{scheme: {exact: https}}]
      directResponse: {status: 418}
    - match: [{authority: {exact: inner.test}}]
      directResponse: {status: 403}
";
    let manifest = manifests(&[Service::new("app", "echo")]).replacen("  http:\n", rule, 1);
    let host = start(&manifest, &[]);
    let address = host.listener(80);
    let absolute = |uri: &str, named: &str| {
        let head = format!("GET {uri} HTTP/1.1\r\nhost: {named}\r\nconnection: close\r\n\r\n");
        raw(&address, "127.0.0.1", &head)
    };
    let answer = absolute("https://outer.test/app/", "other.test");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains(r#""scheme":"HTTP""#) || !answer.contains("HTTPS"),
        "{answer}"
    );
    assert!(!answer.contains("other.test"), "{answer}");
    assert!(answer.contains("outer.test"), "{answer}");
    let answer = absolute("http://inner.test/app/", "outer.test");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");

    for (named, status) in [("inner.test", "400"), ("OUTER.test:443", "200")] {
        let request = Request::get("https://outer.test/app/").header("host", named);
        let request = request.body(()).expect("a request");
        let answer = http2(&address, "127.0.0.1", request, HeaderMap::new());
        assert!(answer.starts_with(status), "{answer}");
        assert!(!answer.contains(named), "{answer}");
    }
}

#[test]
fn forwarded_for_keeps_every_line_and_cannot_be_removed_by_connection() {
    let host = echo();
    let answer = raw(
        &host.listener(80),
        "127.0.0.1",
        "GET /app/ HTTP/1.1\r\nhost: a\r\nconnection: close, host, x-forwarded-for, x-request-id, \
         x-forwarded-proto, authorization, x-own\r\nauthorization: Bearer t\r\nx-own: gone\r\n\
         x-forwarded-for: 203.0.113.1\r\nx-forwarded-for: 203.0.113.2, 203.0.113.3\r\n\
         x-forwarded-proto: https\r\nx-forwarded-proto: ftp\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let chain = "203.0.113.1,203.0.113.2, 203.0.113.3,127.0.0.1";
    assert_eq!(seen(&answer, "x-forwarded-for"), [chain]);
    assert_eq!(seen(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&answer, "authorization"), ["Bearer t"]);
    assert_eq!(seen(&answer, "x-request-id").len(), 1);
    assert!(!answer.contains("gone"), "{answer}");
}

#[test]
fn ambiguous_heads_are_refused() {
    let host = echo();
    let address = host.listener(80);
    let answered = |lines: &str| {
        let answer = raw(&address, "127.0.0.1", &format!("{lines}\r\n\r\n"));
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        status.to_owned()
    };
    for lines in [
        "GET /app/ HTTP/1.1\r\nconnection: close",
        "GET /app/ HTTP/1.1\r\nhost:\r\nconnection: close",
        "GET /app/ HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close",
        "GET /app/ HTTP/1.1\r\nhost: me@a\r\nconnection: close",
        "GET /app/ HTTP/1.1\r\nhost: a:99999\r\nconnection: close",
        "GET http://me@a/app/ HTTP/1.1\r\nhost: a\r\nconnection: close",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close",
        "CONNECT http://a/app/ HTTP/1.1\r\nhost: a\r\nconnection: close",
        "POST /app/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2",
        "POST /app/ HTTP/1.1\r\nhost: a\r\ncontent-length: +1",
        "POST /app/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity",
        "POST /app/ HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked",
        "GET /app/ HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c",
        "GET /app/ HTTP/1.1\r\nhost: a\r\nx-a: b\0c",
        "GET /app/ HTTP/1.1\r\nhost: a\r\nx a: b",
        "GET /app/ HTTP/1.1\r\nhost : a",
    ] {
        assert_eq!(answered(lines), "400", "{lines}");
    }
    for (lines, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close", "404"),
        (
            "TRACE /app/ HTTP/1.1\r\nhost: a\r\nconnection: close",
            "200",
        ),
        (
            "GET /app/ HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nconnection: close, upgrade, http2-settings",
            "200",
        ),
    ] {
        assert_eq!(answered(lines), status, "{lines}");
    }
}

#[test]
fn length_and_chunks_together_do_not_smuggle_a_request() {
    let host = echo();
    let answer = raw(
        &host.listener(80),
        "127.0.0.1",
        "POST /app/first HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
         \r\n0\r\n\r\nGET /app/smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    assert!(!answer.contains("smuggled"), "{answer}");
    assert!(answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
}

#[test]
fn guests_cannot_set_internal_headers() {
    let services = [Service::new("caller", "call"), Service::new("app", "echo")];
    let host = start(&manifests(&services), &[]);
    let answer = host.get(
        "/caller/?url=http://app.test/&header=x-galleria-hops:0\
         &header=x-forwarded-client-cert:forged&header=x-own:1",
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("x-own"), "{}", answer.body);
    assert_no_forged_header(&answer.body);
    assert!(!answer.body.contains("x-galleria"), "{}", answer.body);
}

#[test]
fn internal_headers_are_accepted_only_from_trusted_peers() {
    let manifest = manifests(&[Service::new("app", "echo")]);
    let pod = Pod::of("app");
    let [workload, bind] = pod.arguments();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    let host = Galleria::run(folder.path())
        .arguments(&[&workload, &bind, "--trusted-peer=127.0.0.2,127.3.0.0/16"])
        .start();
    let address = host.listener(8080);
    let head = "GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\
                x-galleria-hops: 3\r\nx-galleria-source: workload test/app default\r\n\
                x-request-id: known\r\nx-forwarded-for: 203.0.113.9\r\n\
                x-forwarded-proto: https\r\n\r\n";
    let over_http2 = |client: &str| {
        let request = Request::get("http://app.test/")
            .header("x-galleria-hops", "3")
            .header("x-galleria-source", "workload test/app default")
            .header("x-request-id", "known")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https");
        let request = request.body(()).expect("a request");
        http2(&address, client, request, HeaderMap::new())
    };
    for client in ["127.0.0.2", "127.3.7.7"] {
        for answer in [raw(&address, client, head), over_http2(client)] {
            assert_eq!(seen(&answer, "x-request-id"), ["known"], "{answer}");
            assert_eq!(seen(&answer, "x-forwarded-for"), ["203.0.113.9"]);
            assert_eq!(seen(&answer, "x-forwarded-proto"), ["https"]);
            assert!(!answer.contains("x-galleria"), "{answer}");
        }
    }
    for answer in [raw(&address, "127.0.0.1", head), over_http2("127.0.0.1")] {
        assert_ne!(seen(&answer, "x-request-id"), ["known"], "{answer}");
        assert_eq!(seen(&answer, "x-forwarded-for"), ["203.0.113.9,127.0.0.1"]);
        assert_eq!(seen(&answer, "x-forwarded-proto"), ["http"]);
        assert!(!answer.contains("x-galleria"), "{answer}");
    }
    let log = host.stderr();
    assert_eq!(log.matches("--trusted-peer").count(), 1, "{log}");
    let calls = eventually("all calls are logged", || {
        let calls = host.calls();
        (calls.len() == 6).then_some(calls)
    });
    let sources = calls.iter().map(|call| &call["source_workload"]);
    assert_eq!(sources.filter(|source| *source == "test/app").count(), 4);
}
