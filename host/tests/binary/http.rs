//! HTTP as its RFCs have it, in both versions: with all services in one host, and with a host for
//! each of them.

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::apart::{self, Pod};
use crate::support::{Galleria, Host, Service, eventually, manifests};

/// The HTTP version of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

use Version::{One, Two};

/// A service in one process with the gateway, or in a host of its own.
struct Mesh {
    gateway: Host,
    _pods: Vec<Host>,
    _folder: tempfile::TempDir,
}

/// A response, with its headers and trailers as they came.
#[derive(Debug)]
struct Received {
    status: u16,
    headers: HeaderMap,
    body: String,
    trailers: HeaderMap,
}

/// Rules that answer without a service.
const RULES: &str = "  http:
    - match: [{uri: {prefix: /direct}}]
      directResponse: {status: 200, body: {string: hello}}
    - match: [{uri: {prefix: /nothing}}]
      directResponse: {status: 204, body: {string: hello}}
";

impl Mesh {
    fn together(services: &[Service]) -> Self {
        let folder = written(services);
        Self {
            gateway: Galleria::run(folder.path()).start(),
            _pods: Vec::new(),
            _folder: folder,
        }
    }

    fn apart(services: &[Service]) -> Self {
        let folder = written(services);
        let pods = apart::pods(&std::fs::read_to_string(file(&folder)).expect("a file"));
        let peers: Vec<_> = pods.iter().map(Pod::peer).collect();
        let host = || {
            let host = Galleria::run(folder.path()).arguments(&peers);
            host.argument(apart::CALLERS)
        };
        let of = |pod: &Pod| {
            let host = host().declared_ports().arguments(&pod.arguments());
            host.start()
        };
        Self {
            _pods: pods.iter().map(of).collect(),
            gateway: host().argument("--gateway").start(),
            _folder: folder,
        }
    }

    fn both(services: &[Service]) -> [(&'static str, Self); 2] {
        let (together, apart) = (Self::together(services), Self::apart(services));
        [("in one host", together), ("between hosts", apart)]
    }

    #[track_caller]
    fn send(&self, version: Version, request: &Request<()>) -> Received {
        send(&self.gateway.listener(80), version, request)
    }
}

fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("test.yaml")
}

fn written(services: &[Service]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = manifests(services).replacen("  http:\n", RULES, 1);
    std::fs::write(file(&folder), manifest).expect("a file");
    folder
}

fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://shop.test{path}"));
    let request = fields
        .iter()
        .fold(request, |it, (name, value)| it.header(*name, *value));
    request.body(()).expect("a request")
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

#[track_caller]
fn send(address: &str, version: Version, request: &Request<()>) -> Received {
    match version {
        One => http1(address, request),
        Two => http2(address, std::slice::from_ref(request)).remove(0),
    }
}

/// Sends the request as it is, and reads until the host closes the connection.
#[track_caller]
fn http1(address: &str, request: &Request<()>) -> Received {
    let path = request.uri().path_and_query().expect("a path");
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nhost: shop.test\r\n",
        request.method()
    );
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().expect("text"));
    }
    raw(address, &format!("{head}connection: close\r\n\r\n"))
}

#[track_caller]
fn raw(address: &str, request: &str) -> Received {
    raw_bytes(address, request.as_bytes())
}

/// All bytes that the host answers to `request`, until it closes the connection.
#[track_caller]
fn answer_to(address: &str, request: &[u8]) -> Vec<u8> {
    wait(async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // A host that refuses a head may close the connection before it has all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    })
}

#[track_caller]
fn raw_bytes(address: &str, request: &[u8]) -> Received {
    let answer = answer_to(address, request);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.unwrap_or_else(|| panic!("no answer: {answer}"));
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.parse().ok()?, value.parse().ok()?))
    };
    let headers: HeaderMap = lines.filter_map(field).collect();
    let body = match headers.contains_key("transfer-encoding") {
        true => unchunked(body),
        false => body.to_owned(),
    };
    Received {
        status: status.parse().expect("a status"),
        headers,
        body,
        trailers: HeaderMap::new(),
    }
}

/// The content of a body in chunks.
fn unchunked(mut body: &str) -> String {
    let mut content = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        let Some((chunk, rest)) = rest.split_at_checked(size).filter(|_| size > 0) else {
            break;
        };
        content += chunk;
        body = rest.trim_start_matches("\r\n");
    }
    content
}

/// Sends the requests one after the other on one connection.
#[track_caller]
fn http2(address: &str, requests: &[Request<()>]) -> Vec<Received> {
    wait(async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let builder = h2::client::Builder::new()
            .max_header_list_size(1 << 20)
            .handshake::<_, Bytes>(stream);
        let (mut sender, connection) = builder.await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut all = Vec::new();
        for request in requests {
            sender = sender.ready().await.expect("an open connection");
            let sent = sender.send_request(request.clone(), true);
            let (response, _) = sent.expect("sent");
            let response = response.await;
            let response = response.unwrap_or_else(|error| panic!("{request:.200?}: {error}"));
            let (parts, mut body) = response.into_parts();
            let mut text = String::new();
            while let Some(data) = body.data().await {
                let data = data.unwrap_or_else(|error| panic!("{:?}: {error}", request.uri()));
                text += &String::from_utf8_lossy(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            let trailers = body.trailers().await.expect("trailers");
            all.push(Received {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: text,
                trailers: trailers.unwrap_or_default(),
            });
        }
        all
    })
}

impl Received {
    fn field(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name));
        value.map(|it| it.to_str().expect("text"))
    }

    /// The fields `name` that `echo` received, in order.
    fn seen(&self, name: &str) -> Vec<String> {
        let lines = self.body.lines();
        let values = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let named = values.filter(|line| line["name"] == name);
        named
            .map(|line| line["value"].as_str().expect("text").to_owned())
            .collect()
    }
}

#[test]
fn responses_without_content_have_none() {
    let services = [
        Service::new("content", "content"),
        Service::new("call", "call"),
        Service::new("echo-three", "echo-p3"),
    ];
    for (place, mesh) in Mesh::both(&services) {
        // Status, `content-length`, content.
        for (method, path, expected) in [
            ("GET", "/content/?body=5&length=5", (200, Some("5"), 5)),
            ("HEAD", "/content/?length=5", (200, Some("5"), 0)),
            ("HEAD", "/content/?body=5&length=5", (200, Some("5"), 0)),
            (
                "HEAD",
                "/content/?body=200000&length=200000",
                (200, Some("200000"), 0),
            ),
            ("GET", "/content/?code=204", (204, None, 0)),
            ("GET", "/content/?code=204&length=0", (204, None, 0)),
            ("GET", "/content/?code=204&length=5&body=5", (204, None, 0)),
            ("GET", "/content/?code=304&body=5", (304, None, 0)),
            ("HEAD", "/content/?code=204&length=5", (204, None, 0)),
            ("GET", "/content/?code=103", (502, Some("87"), 87)),
            ("HEAD", "/content/?code=103", (502, Some("87"), 0)),
            ("GET", "/content/?code=101", (502, Some("87"), 87)),
            ("HEAD", "/direct", (200, Some("5"), 0)),
            ("GET", "/nothing", (204, None, 0)),
            ("HEAD", "/no-such-path", (404, None, 0)),
        ] {
            for version in [One, Two] {
                let answer = mesh.send(version, &request(method, path, &[]));
                let length = answer.field("content-length");
                let found = (answer.status, length, answer.body.len());
                assert_eq!(found, expected, "{method} {path} {version:?} {place}");
            }
        }
        // The length is known if the guest has written everything by then.
        for path in ["/content/?body=5", "/echo-three/"] {
            for version in [One, Two] {
                let answer = mesh.send(version, &request("HEAD", path, &[]));
                let found = (answer.status, answer.body.len());
                assert_eq!(found, (200, 0), "{path} {version:?} {place}");
            }
        }

        for (query, status) in [
            ("?body=5", 200),
            ("?length=5", 200),
            ("?code=204&length=5", 204),
        ] {
            let url: String = form_urlencoded(&format!("http://content.test/{query}"));
            let path = format!("/call/?method=HEAD&url={url}");
            let answer = mesh.send(Two, &request("GET", &path, &[]));
            assert_eq!((answer.status, &*answer.body), (200, ""), "{query} {place}");
            let upstream = answer.field("x-upstream-status");
            assert_eq!(upstream, Some(&*status.to_string()), "{query} {place}");
        }
    }
}

fn form_urlencoded(text: &str) -> String {
    text.replace('?', "%3F")
        .replace('&', "%26")
        .replace('=', "%3D")
}

#[test]
fn heads_have_the_same_limits_in_both_versions() {
    let services = [
        Service::new("headers", "headers"),
        Service::new("echo", "echo"),
    ];
    for (place, mesh) in Mesh::both(&services) {
        let address = mesh.gateway.listener(80);
        // Bytes of one field, number of fields.
        for (length, count) in [(60_000, 1), (1_000, 90), (1, 900)] {
            let path = format!("/headers/?n={count}&length={length}");
            let path = match count {
                900 => format!("{path}&same=1"),
                _ => path,
            };
            for version in [One, Two] {
                let answer = mesh.send(version, &request("GET", &path, &[]));
                assert_eq!(answer.status, 200, "{path} {version:?} {place}");
            }
        }
        for (lengths, status) in [
            (&[60_000][..], 200),
            (&[66_000], 431),
            (&[70_000, 70_000], 431),
            (&[20_000, 20_000, 20_000, 20_000, 20_000, 20_000], 431),
            (&[1; 90], 200),
            (&[1; 101], 431),
        ] {
            let values: Vec<_> = lengths.iter().map(|length| "v".repeat(*length)).collect();
            let names: Vec<_> = (0..values.len()).map(|it| format!("x-{it}")).collect();
            let fields = names.iter().zip(&values);
            let fields: Vec<_> = fields
                .map(|(name, it)| (name.as_str(), it.as_str()))
                .collect();
            let long = request("GET", "/echo/", &fields);
            let what = format!("{} of {} {place}", lengths.len(), lengths[0]);
            assert_eq!(http1(&address, &long).status, status, "{what}");
            let small = request("GET", "/echo/", &[]);
            let answers = http2(&address, &[small.clone(), long, small]);
            let answered: Vec<_> = answers.iter().map(|it| it.status).collect();
            assert_eq!(answered, [200, status, 200], "{what}");
        }
        eventually("every refused request is logged", || {
            let calls = mesh.gateway.calls();
            let refused = calls.iter().filter(|call| call["response_code"] == 431);
            let with_flag = refused.filter(|call| call["response_flags"] == "DPE");
            (with_flag.count() == 8).then_some(())
        });
    }
}

#[test]
fn grpc_calls_end_with_the_time_of_their_caller() {
    let services = [
        Service::new("slow", "slow"),
        Service::new("echo", "echo"),
        Service::new("call", "call"),
    ];
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    for (place, mesh) in Mesh::both(&services) {
        for version in [One, Two] {
            let fields = [GRPC, ("te", "trailers"), ("grpc-timeout", "3S")];
            let answer = mesh.send(version, &request("GET", "/echo/", &fields));
            assert_eq!(answer.seen("te"), ["trailers"], "{version:?} {place}");
            let left = answer.seen("grpc-timeout");
            let left: Vec<_> = left.iter().map(|it| it.trim_end_matches('m')).collect();
            let left: Vec<u64> = left
                .iter()
                .map(|it| it.parse().expect("milliseconds"))
                .collect();
            assert!(left.len() == 1 && left[0] <= 3_000, "{left:?} {place}");

            let fields = [GRPC, ("grpc-timeout", "300m")];
            let began = std::time::Instant::now();
            let answer = mesh.send(version, &request("GET", "/slow/?ms=20000", &fields));
            assert_eq!(
                answer.field("grpc-status"),
                Some("4"),
                "{version:?} {place}"
            );
            assert!(began.elapsed().as_secs() < 10, "{version:?} {place}");

            let fields = [("te", "gzip"), ("grpc-timeout", "1n")];
            let answer = mesh.send(One, &request("GET", "/echo/", &fields));
            assert_eq!(answer.status, 200, "only gRPC has a timeout");
            assert!(answer.seen("te").is_empty());
        }
        let url = "http://slow.test/%3Fms%3D20000";
        let headers = "header=content-type:application/grpc&header=grpc-timeout:300m";
        let path = format!("/call/?url={url}&{headers}");
        let began = std::time::Instant::now();
        let answer = mesh.send(Two, &request("GET", &path, &[]));
        assert_eq!(answer.field("x-upstream-status"), Some("200"), "{place}");
        assert!(began.elapsed().as_secs() < 10, "a guest's call, {place}");
    }
}

#[test]
fn repeated_fields_are_one_list() {
    let services = [Service::new("echo", "echo")];
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (place, mesh) in Mesh::both(&services) {
        for version in [One, Two] {
            let fields = [
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("traceparent", TRACE),
                ("tracestate", "a=1"),
                ("tracestate", "b=2"),
                ("baggage", "c=3"),
                ("baggage", "d=4"),
                ("forwarded", "for=203.0.113.1"),
                ("forwarded", "for=203.0.113.2"),
                ("x-forwarded-for", "203.0.113.1"),
                ("x-forwarded-for", "203.0.113.2"),
                ("x-forwarded-host", "forged.test"),
            ];
            let answer = mesh.send(version, &request("GET", "/echo/", &fields));
            let what = format!("{version:?} {place}");
            assert_eq!(answer.seen("cookie"), ["a=1; b=2"], "{what}");
            assert_eq!(answer.seen("tracestate"), ["a=1,b=2"], "{what}");
            assert_eq!(answer.seen("baggage").join(","), "c=3,d=4", "{what}");
            let forwarded = ["for=203.0.113.1, for=203.0.113.2"];
            assert_eq!(answer.seen("forwarded"), forwarded, "{what}");
            let chain = ["203.0.113.1,203.0.113.2,127.0.0.1"];
            assert_eq!(answer.seen("x-forwarded-for"), chain, "{what}");
            assert!(answer.seen("x-forwarded-host").is_empty(), "{what}");
        }
    }
}

#[test]
fn requests_that_are_refused_are_logged() {
    let mesh = Mesh::together(&[Service::new("echo", "echo")]);
    let address = mesh.gateway.listener(80);
    const END: &str = "connection: close\r\n\r\n";
    let refused = [
        ("host: a\r\nhost: b\r\n", 400, "duplicate_host_header"),
        ("", 400, "missing_host_header"),
        (
            "host: a\r\ntransfer-encoding: gzip, chunked\r\n",
            501,
            "http1.invalid_transfer_encoding",
        ),
        (
            "host: a\r\ntransfer-encoding: chunked, chunked\r\n",
            400,
            "http1.invalid_transfer_encoding",
        ),
        (
            "host: a\r\ntransfer-encoding: gzip\r\n",
            400,
            "http1.codec_error",
        ),
        ("host: a\r\nno colon\r\n", 400, "http1.codec_error"),
        (
            "host: a\r\ncontent-length: 99999999\r\n",
            413,
            "request_payload_too_large",
        ),
    ];
    for (head, status, details) in refused {
        let head = format!("POST /echo/{status} HTTP/1.1\r\n{head}{END}");
        assert_eq!(raw(&address, &head).status, status, "{head}");
        mesh.gateway.call(details, |call| {
            call["response_code"] == status && call["response_code_details"] == details
        });
    }
    assert!(refused.len() <= mesh.gateway.calls().len());
}

#[test]
fn sampling_decision_of_a_caller_is_kept() {
    let mesh = Mesh::together(&[Service::new("echo", "echo")]);
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let later = format!("01-{}-09-what comes later", &PARENT[3..]);
    let known = format!("{PARENT}-01");
    // Whether it is sampled, and whether it is the caller's trace.
    for (fields, sampled, same) in [
        (&[("b3", "0")][..], "00", false),
        (&[("b3", "1")], "01", false),
        (&[("x-b3-sampled", "0")], "00", false),
        (&[("x-b3-flags", "1")], "01", false),
        (&[("traceparent", &*later)], "01", true),
        (&[("traceparent", &*known)], "01", true),
        (
            &[("traceparent", &*known), ("traceparent", &*known)],
            "01",
            false,
        ),
    ] {
        for version in [One, Two] {
            let answer = mesh.send(version, &request("GET", "/echo/", fields));
            let seen = answer.seen("traceparent");
            assert_eq!(seen.len(), 1, "{fields:?}");
            assert!(
                seen[0].starts_with("00-") && seen[0].ends_with(sampled),
                "{seen:?} {fields:?}"
            );
            assert_eq!(seen[0].contains(&PARENT[3..35]), same, "{fields:?}");
            if fields[0] == ("b3", "0") {
                assert!(answer.seen("b3")[0].ends_with("-0"), "{}", answer.body);
            }
        }
    }
}

/// What `echo` says about a client behind proxies: `x-forwarded-for`, `-proto` and `-host`, or the
/// status of another answer.
#[track_caller]
fn client_seen(host: &Host, prefix: &[u8], path: &str) -> String {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\
         x-forwarded-for: 203.0.113.9, 203.0.113.8\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: outer.test\r\n\r\n"
    );
    let answer = raw_bytes(&host.listener(80), &[prefix, head.as_bytes()].concat());
    if answer.status != 200 {
        return answer.status.to_string();
    }
    let of = |name| answer.seen(name).join("|");
    let (host, proto) = (of("x-forwarded-host"), of("x-forwarded-proto"));
    format!("{} {proto} {host}", of("x-forwarded-for"))
}

const MESH_CONFIG: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}
";

const BLOCKED: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: blocked, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules:
    - from: [{source: {remoteIpBlocks: [203.0.113.8]}}]
      to: [{operation: {paths: [/remote]}}]
    - from: [{source: {ipBlocks: [127.0.0.1]}}]
      to: [{operation: {paths: [/source]}}]
";

const SECURE: &str = "  http:
    - match: [{uri: {exact: /secure}, scheme: {exact: https}}]
      directResponse: {status: 418}
";

#[test]
fn trusted_proxies_say_who_the_client_is() {
    const OUTER: &str = "https outer.test";
    let chain = "203.0.113.9, 203.0.113.8,127.0.0.1";
    let flag = |number: u32| Some(format!("--num-trusted-proxies={number}"));
    // The address in the log, what the service sees, and what policies and routes decide.
    for (config, flag, address, seen, remote, secure) in [
        ("", None, "127.0.0.1", "http ", "404", "404"),
        (MESH_CONFIG, None, "203.0.113.8", OUTER, "403", "418"),
        (MESH_CONFIG, flag(0), "127.0.0.1", "http ", "404", "404"),
        ("", flag(1), "203.0.113.8", OUTER, "403", "418"),
        ("", flag(2), "203.0.113.9", OUTER, "404", "418"),
        ("", flag(3), "127.0.0.1", OUTER, "404", "418"),
    ] {
        let folder = written(&[Service::new("echo", "echo")]);
        let manifest = std::fs::read_to_string(file(&folder)).expect("a file");
        let manifest = manifest.replacen("  http:\n", SECURE, 1);
        std::fs::write(file(&folder), format!("{manifest}{config}{BLOCKED}")).expect("a file");
        let host = Galleria::run(folder.path());
        let host = flag.iter().fold(host, |host, flag| host.argument(flag));
        let host = host.start();
        let what = format!("{config} {flag:?}");
        let found = client_seen(&host, b"", "/echo/");
        assert_eq!(found, format!("{chain} {seen}"), "{what}");
        let call = host.call("the call", |call| call["path"] == "/echo/");
        assert_eq!(call["downstream_remote_address"], address, "{what}");
        assert_eq!(client_seen(&host, b"", "/remote"), remote, "{what}");
        assert_eq!(client_seen(&host, b"", "/source"), "403", "{what}");
        assert_eq!(client_seen(&host, b"", "/secure"), secure, "{what}");
    }
}

/// What says that connections to the port 80 begin with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy)]
enum Proxied {
    Flag,
    MeshConfig,
    Annotation,
    Nothing,
}

fn behind_proxy(by: Proxied) -> (tempfile::TempDir, Host) {
    const TOPOLOGY: &str = "gatewayTopology: {proxyProtocol: {}}";
    let folder = written(&[Service::new("echo", "echo")]);
    let manifest = std::fs::read_to_string(file(&folder)).expect("a file");
    let name = "{name: gateway, namespace: test";
    let annotated = format!("{name}, annotations: {{proxy.istio.io/config: '{TOPOLOGY}'}}");
    let config = MESH_CONFIG.replace("gatewayTopology: {numTrustedProxies: 1}", TOPOLOGY);
    let manifest = match by {
        Proxied::MeshConfig => manifest + &config,
        Proxied::Annotation => manifest.replacen(name, &annotated, 1),
        Proxied::Flag | Proxied::Nothing => manifest,
    };
    std::fs::write(file(&folder), manifest).expect("a file");
    let host = Galleria::run(folder.path()).argument("--client-head-timeout=2s");
    let host = match by {
        Proxied::Flag => host.argument("--proxy-protocol=80"),
        _ => host,
    };
    (folder, host.start())
}

const PROXY_LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 80\r\n";
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of version 2 that names 192.0.2.7.
fn binary_header() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0, 80];
    [PROXY_SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
}

#[test]
fn proxy_protocol_names_the_client() {
    let local = [PROXY_SIGNATURE, &[0x20, 0, 0, 0]].concat();
    let ipv6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n";
    for by in [Proxied::Flag, Proxied::MeshConfig, Proxied::Annotation] {
        let (_folder, host) = behind_proxy(by);
        for (header, client) in [
            (PROXY_LINE, "192.0.2.7"),
            (&binary_header(), "192.0.2.7"),
            (ipv6, "2001:db8::7"),
            (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
            (&local, "127.0.0.1"),
        ] {
            let seen = client_seen(&host, header, "/echo/");
            let expected = format!("203.0.113.9, 203.0.113.8,{client} http ");
            assert_eq!(seen, expected, "{by:?} {header:?}");
        }
        let call = host.call("the call", |call| call["path"] == "/echo/");
        assert_eq!(call["downstream_remote_address"], "192.0.2.7", "{by:?}");
    }
}

/// Nothing that follows the header counts as another one, and nothing of a connection without a
/// whole header is answered.
#[test]
fn connection_without_the_header_of_a_proxy_is_refused() {
    let request = b"GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n";
    let (_folder, host) = behind_proxy(Proxied::Annotation);
    let second = b"PROXY TCP4 192.0.2.8 198.51.100.1 12345 80\r\n";
    let twice = answer_to(&host.listener(80), &[PROXY_LINE, second, request].concat());
    assert!(twice.starts_with(b"HTTP/1.1 400"), "a second header");
    let long_line = [b"PROXY TCP4 ", [b'1'; 9_000].as_slice(), b"\r\n"].concat();
    let long = [PROXY_SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 0xffff]].concat();
    for sent in [
        &request[..],
        &long_line,
        &[&long[..], request].concat(),
        // Never completed: closed at the limit of a head.
        b"",
        b"PROXY TCP4 192.0.2.7 198.51",
        &PROXY_SIGNATURE[..7],
        &binary_header()[..20],
    ] {
        let answer = answer_to(&host.listener(80), sent);
        assert!(answer.is_empty(), "{sent:?}");
    }
    let refused = |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        host.metric(
            "galleria_connections_closed_total",
            &["port=\"80\"", &reason],
        )
    };
    assert_eq!(
        (refused("handshake_failed"), refused("head_timeout")),
        (3.0, 4.0)
    );
}

#[test]
fn client_without_a_proxy_cannot_claim_another_address() {
    let request = b"GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n";
    let (_folder, host) = behind_proxy(Proxied::Nothing);
    for header in [PROXY_LINE, &binary_header()] {
        let answer = answer_to(&host.listener(80), &[header, request].concat());
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{header:?}");
    }
    let call = host.call("the call", |call| call["response_code"] == 400);
    assert_eq!(call["downstream_remote_address"], "127.0.0.1");
}

#[test]
fn guests_of_both_versions_of_wasi_see_the_same_target() {
    let services = [
        Service::new("two", "echo"),
        Service::new("three", "echo-p3"),
        Service::new("call", "call"),
    ];
    for (place, mesh) in Mesh::both(&services) {
        for version in [One, Two] {
            let target = |name: &str| {
                let answer = mesh.send(version, &request("GET", &format!("/{name}/a?b=1"), &[]));
                let first = answer.body.lines().next().unwrap_or_default().to_owned();
                let line: Value = serde_json::from_str(&first).expect("JSON");
                (line, answer.seen("host"))
            };
            let (mut two, three) = (target("two"), target("three"));
            assert_eq!(two.0["authority"], "shop.test", "{version:?} {place}");
            two.0["target"] = three.0["target"].clone();
            assert_eq!(two, three, "{version:?} {place}");
        }
        for name in ["two", "three"] {
            let path = format!("/call/?url=http://{name}.test/");
            let answer = mesh.send(Two, &request("GET", &path, &[]));
            let authority = format!("\"authority\":\"{name}.test\"");
            assert!(answer.body.contains(&authority), "{place}: {}", answer.body);
        }
    }
}
