//! Mutual TLS between hosts: who calls is what the certificate of the connection proves, and
//! nothing else.

mod envoy;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::support::{
    Galleria, Host, Identity, MeshAuthority, PATIENCE, Service, SetOnDrop, apart, eventually,
    manifests, with_accounts,
};

const ONE: &str = "spiffe://cluster.local/ns/test/sa/one";
const TWO: &str = "spiffe://cluster.local/ns/test/sa/two";
const APP: &str = "spiffe://cluster.local/ns/test/sa/app";
/// The year in which the certificates of these tests end.
const VALID: i32 = 2999;

/// `app` admits the account `one` and the gateway.
const ONLY_ONE: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-one, namespace: test}
spec:
  selector: {matchLabels: {app: app}}
  rules:
    - from: [{source: {principals: [cluster.local/ns/test/sa/one]}}]
    - from: [{source: {namespaces: [istio-system]}}]
";

fn peer_authentication(mode: &str) -> String {
    format!(
        "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: test}}
spec: {{mtls: {{mode: {mode}}}}}
"
    )
}

fn destination_rule(tls: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: test}}
spec: {{host: app, trafficPolicy: {{tls: {tls}}}}}
"
    )
}

/// `app` returns the request, and the guests `one` and `two` call it.
fn services(policies: &[&str]) -> String {
    let services = manifests(&[
        Service::new("app", "echo"),
        Service::new("one", "call"),
        Service::new("two", "call"),
    ]);
    let accounts = [("app", "app"), ("one", "one"), ("two", "two")];
    with_accounts(&services, &accounts) + &policies.concat()
}

/// A host for each pod, and one for the gateway.
struct Hosts {
    gateway: Host,
    pods: Vec<Host>,
    addresses: Vec<String>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Hosts {
    fn start(manifest: &str, arguments: &[&str]) -> Self {
        Self::start_with(manifest, arguments, arguments)
    }

    /// The gateway has arguments of its own.
    fn start_with(manifest: &str, arguments: &[&str], of_gateway: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.yaml");
        std::fs::write(&file, manifest).expect("a file");
        let pods = apart::pods(manifest);
        let peers: Vec<String> = pods.iter().map(apart::Pod::peer).collect();
        let host = || Galleria::run(folder.path()).arguments(&peers);
        let of_pod = |pod: &apart::Pod| {
            let host = host().arguments(arguments).declared_ports();
            host.arguments(&pod.arguments()).start()
        };
        Self {
            gateway: host().arguments(of_gateway).argument("--gateway").start(),
            addresses: pods.iter().map(apart::Pod::address).collect(),
            pods: pods.iter().map(of_pod).collect(),
            file,
            _folder: folder,
        }
    }

    /// The host of `app`.
    fn app(&self) -> &Host {
        &self.pods[0]
    }

    fn app_address(&self) -> String {
        format!("{}:8080", self.addresses[0])
    }

    /// The status that `app` answers to a call of the guest `caller`.
    fn through(&self, caller: &str, path: &str) -> u16 {
        let answer = self
            .gateway
            .get(&format!("/{caller}/?url=http://app{path}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status = answer.header("x-upstream-status");
        status.parse().expect("a status")
    }

    fn refusals(host: &Host, reason: &str) -> f64 {
        let reason = format!("reason=\"{reason}\"");
        host.metric("galleria_peer_refusals_total", &[&reason])
    }

    /// Waits until every host has read changed files of its authority `times` times.
    #[track_caller]
    fn have_read_the_authority(&self, times: usize) {
        let message = "the files of the certificate authority have changed";
        for host in self.pods.iter().chain([&self.gateway]) {
            eventually("the host uses the changed files", || {
                (host.stderr().matches(message).count() >= times).then_some(())
            });
        }
    }

    /// Waits until the host of `app` has counted and logged a refusal.
    #[track_caller]
    fn assert_refused(&self, reason: &str) {
        eventually(&format!("a refusal with the reason {reason}"), || {
            let is_logged = self
                .app()
                .stderr()
                .contains(&format!("\"refused\":\"{reason}\""));
            (Self::refusals(self.app(), reason) >= 1.0 && is_logged).then_some(())
        });
    }
}

/// A response, or why there is none.
type Answered = Result<(u16, String), String>;

/// A request over HTTP/2 and TLS, as a sidecar sends it.
fn call(address: &str, config: ClientConfig, path: &str, headers: &[(&str, &str)]) -> Answered {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let answered = tokio::time::timeout(PATIENCE, async {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = "app.test.svc.cluster.local".try_into().expect("a name");
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await?;
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut request = http::Request::get(format!("http://app{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Empty::<bytes::Bytes>::new())?;
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        });
        let answered: Result<_, Box<dyn std::error::Error>> = answered.await.expect("in time");
        answered.map_err(|error| error.to_string())
    })
}

/// A request in plain text.
fn plain(address: &str, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /plain HTTP/1.1\r\nhost: app\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What the guest `echo` has received in a header.
fn received(body: &str, name: &str) -> Vec<String> {
    let lines = body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let values = lines.filter(|line| line["name"] == name);
    values
        .map(|it| it["value"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn hosts_with_one_authority_prove_who_calls() {
    let authority = MeshAuthority::new();
    let manifest = services(&[ONLY_ONE, &peer_authentication("STRICT")]);
    // No host needs to be named a trusted peer.
    let hosts = Hosts::start(&manifest, &[&authority.argument()]);
    assert_eq!(hosts.through("one", "/a"), 200);
    assert_eq!(hosts.through("two", "/b"), 403);
    assert_eq!(hosts.gateway.get("/app/c").status, 200);

    let answer = hosts.gateway.get("/one/?url=http://app/d");
    let certificates = received(&answer.body, "x-forwarded-client-cert");
    let [certificate] = certificates.as_slice() else {
        panic!("{certificates:?}");
    };
    assert!(
        certificate.starts_with(&format!("By={APP};Hash=")),
        "{certificate}"
    );
    assert!(
        certificate.ends_with(&format!(";Subject=\"\";URI={ONE}")),
        "{certificate}"
    );
    assert!(!answer.body.contains("x-galleria"), "{}", answer.body);

    let denied = hosts
        .app()
        .call("the denied call", |call| call["path"] == "/b");
    assert_eq!(denied["source_workload"], "test/two");
    for (source, code) in [("one", "200"), ("two", "403"), ("unknown", "200")] {
        let labels = [
            "reporter=\"destination\"",
            "connection_security_policy=\"mutual_tls\"",
            &format!("source_workload=\"{source}\""),
            &format!("response_code=\"{code}\""),
        ];
        eventually("the destination reports mutual TLS", || {
            let count = hosts.app().metric("istio_requests_total", &labels);
            (count >= 1.0).then_some(())
        });
    }
    let plain = [
        "connection_security_policy=\"none\"",
        "reporter=\"destination\"",
    ];
    assert_eq!(hosts.app().metric("istio_requests_total", &plain), 0.0);
}

#[test]
fn callers_that_prove_nothing_are_refused_counted_and_logged() {
    let (authority, other) = (MeshAuthority::new(), MeshAuthority::new());
    let manifest = services(&[ONLY_ONE, &peer_authentication("STRICT")]);
    let hosts = Hosts::start(&manifest, &[&authority.argument()]);
    let address = hosts.app_address();
    let ask = |identity: &Identity, headers: &[(&str, &str)]| {
        call(&address, identity.client(), "/raw", headers)
    };
    let (status, body) = ask(&authority.issue(ONE, VALID), &[]).expect("an answer");
    assert_eq!(status, 200, "a workload with a sidecar");
    assert_eq!(
        received(&body, "x-forwarded-client-cert").len(),
        1,
        "{body}"
    );

    for (identity, reason) in [
        (other.issue(ONE, VALID), "unknown_authority"),
        (authority.issue(ONE, 2021), "expired"),
        (
            authority.issue("spiffe://example.com/ns/test/sa/one", VALID),
            "wrong_identity",
        ),
        (
            authority.issue("https://example.com", VALID),
            "wrong_identity",
        ),
    ] {
        let answer = ask(&identity, &[]);
        assert!(answer.is_err(), "{reason}: {answer:?}");
        hosts.assert_refused(reason);
    }
    // The headers of a request of `one`, sent with another certificate.
    let stolen = [
        ("x-galleria-hops", "1"),
        ("x-galleria-source", "workload test/one one"),
        ("x-request-id", "stolen"),
    ];
    let two = authority.issue(TWO, VALID);
    assert_eq!(ask(&two, &stolen).expect("an answer").0, 403);
    let client = [
        stolen[0],
        ("x-galleria-source", "client 80 192.0.2.7"),
        stolen[2],
    ];
    assert_eq!(
        ask(&two, &client).expect("an answer").0,
        403,
        "not a gateway"
    );
    hosts.assert_refused("claim");

    // A connection that is downgraded.
    let headers = "x-galleria-hops: 1\r\nx-galleria-source: workload test/one one\r\n";
    let answer = plain(&address, headers);
    assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
    hosts.assert_refused("plain_text");
    let served = hosts.app().calls();
    assert!(
        !served.iter().any(|call| call["path"] == "/plain"),
        "{served:?}"
    );
}

#[test]
fn header_in_plain_text_is_no_identity() {
    let claim =
        "x-galleria-hops: 1\r\nx-request-id: a\r\nx-galleria-source: workload test/one one\r\n";
    let authority = MeshAuthority::new();
    let secured = [authority.argument(), apart::CALLERS.to_owned()];
    for arguments in [&secured[..], &[apart::CALLERS.to_owned()]] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let hosts = Hosts::start(&services(&[ONLY_ONE]), &arguments);
        let answer = plain(&hosts.app_address(), claim).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        // The claim of a trusted address is good enough for metrics.
        let denied = hosts
            .app()
            .call("the denied call", |call| call["path"] == "/plain");
        assert_eq!(denied["source_workload"], "test/one");
        let labels = [
            "connection_security_policy=\"none\"",
            "source_workload=\"one\"",
            "response_code=\"403\"",
        ];
        eventually("the destination reports plain text", || {
            let count = hosts.app().metric("istio_requests_total", &labels);
            (count >= 1.0).then_some(())
        });
        let expected = match arguments.len() {
            1 => 403,
            _ => 200,
        };
        assert_eq!(hosts.through("one", "/a"), expected, "{arguments:?}");
        assert_eq!(hosts.through("two", "/b"), 403, "{arguments:?}");
    }
}

#[test]
fn host_of_another_authority_neither_calls_nor_is_called() {
    let (authority, other) = (MeshAuthority::new(), MeshAuthority::new());
    let [of_pods, of_gateway] = [&authority, &other].map(MeshAuthority::argument);
    let hosts = Hosts::start_with(&services(&[]), &[&of_pods], &[&of_gateway]);
    assert_eq!(hosts.gateway.get("/app/a").status, 503);
    eventually("the gateway has refused the pod", || {
        (Hosts::refusals(&hosts.gateway, "unknown_authority") >= 1.0).then_some(())
    });
    let log = hosts.gateway.stderr();
    assert!(log.contains("\"refused\":\"unknown_authority\""), "{log}");
    assert_eq!(hosts.app().calls().len(), 0);
}

#[test]
fn destination_rule_and_peer_authentication_decide_about_the_connection() {
    let authority = MeshAuthority::new();
    let argument = authority.argument();
    let hosts = Hosts::start(&services(&[]), &[&argument]);
    let strict = peer_authentication("STRICT");
    let disabled = peer_authentication("DISABLE");
    let other = format!("{{mode: ISTIO_MUTUAL, subjectAltNames: ['{TWO}']}}");
    let own = format!("{{mode: ISTIO_MUTUAL, subjectAltNames: ['{APP}']}}");
    let rule = destination_rule;
    let roots = authority.root_file();
    let simple = format!("{{mode: SIMPLE, caCertificates: '{roots}', subjectAltNames: ['{APP}']}}");
    for (name, policies, status, security) in [
        ("STRICT", vec![strict.clone()], 200, "mutual_tls"),
        (
            "DISABLE to STRICT",
            vec![strict.clone(), rule("{mode: DISABLE}")],
            503,
            "",
        ),
        (
            "ISTIO_MUTUAL to STRICT",
            vec![strict, rule("{mode: ISTIO_MUTUAL}")],
            200,
            "mutual_tls",
        ),
        (
            "DISABLE to PERMISSIVE",
            vec![rule("{mode: DISABLE}")],
            200,
            "none",
        ),
        ("another workload", vec![rule(&other)], 503, ""),
        (
            "the workload by its name",
            vec![rule(&own)],
            200,
            "mutual_tls",
        ),
        ("SIMPLE to PERMISSIVE", vec![rule(&simple)], 200, "none"),
        ("to DISABLE", vec![disabled], 200, "none"),
        ("nothing", vec![], 200, "mutual_tls"),
    ] {
        let policies: Vec<&str> = policies.iter().map(String::as_str).collect();
        let new = hosts.file.with_extension("new");
        std::fs::write(&new, services(&policies)).expect("a file");
        std::fs::rename(&new, &hosts.file).expect("renamed");
        let label = format!("connection_security_policy=\"{security}\"");
        let labels = ["reporter=\"destination\"", &label];
        eventually(&format!("{name}: {status} over {security}"), || {
            let before = hosts.app().metric("istio_requests_total", &labels);
            let answer = hosts.gateway.get("/app/a");
            let is_expected = answer.status == status;
            if status == 503 {
                let failed = |call: &Value| {
                    let flags = call["response_flags"].as_str().unwrap_or_default();
                    flags.contains("UC") || flags.contains("UF")
                };
                let is_failed = hosts.gateway.calls().last().is_some_and(failed);
                return (is_expected && is_failed).then_some(());
            }
            let after = || hosts.app().metric("istio_requests_total", &labels) > before;
            (is_expected && (after() || after())).then_some(())
        });
    }
}

#[test]
fn hosts_of_a_trust_domain_prove_its_identities_and_refuse_others() {
    let authority = MeshAuthority::new();
    let arguments = [&*authority.argument(), "--trust-domain=shop.example"];
    let manifest = services(&[ONLY_ONE, &peer_authentication("STRICT")]);
    let hosts = Hosts::start(&manifest, &arguments);
    // `cluster.local` in the policy is the trust domain of the mesh.
    assert_eq!(hosts.through("one", "/a"), 200);
    assert_eq!(hosts.through("two", "/a"), 403);
    let own = "spiffe://shop.example/ns/test/sa/one";
    let ask = |id: &str| {
        let client = authority.issue(id, VALID).client();
        call(&hosts.app_address(), client, "/b", &[])
    };
    assert!(ask(own).is_ok_and(|(status, _)| status == 200));
    assert!(ask(ONE).is_err());
    hosts.assert_refused("wrong_identity");
    let principal = format!("source_principal=\"{own}\"");
    let labels = ["reporter=\"destination\"", &principal];
    eventually("the principal in the metrics", || {
        (hosts.app().metric("istio_requests_total", &labels) >= 1.0).then_some(())
    });
}

/// Reads from a connection until its end, for at most the patience of the tests.
fn ends(mut connection: TcpStream) -> bool {
    let set = connection.set_read_timeout(Some(PATIENCE));
    set.expect("a timeout");
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).is_ok()
}

/// A connection in plain text that has answered a request and stays open.
fn kept_open(address: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).expect("a connection");
    let set = connection.set_read_timeout(Some(PATIENCE));
    set.expect("a timeout");
    let request = "GET /kept HTTP/1.1\r\nhost: app\r\n\r\n";
    connection.write_all(request.as_bytes()).expect("a request");
    let mut head = [0; 12];
    connection.read_exact(&mut head).expect("a response");
    assert_eq!(&head, b"HTTP/1.1 200");
    connection
}

#[test]
fn open_connections_end_when_the_mode_of_mutual_tls_changes() {
    let authority = MeshAuthority::new();
    let hosts = Hosts::start(&services(&[]), &[&authority.argument()]);
    let apply = |policies: &[&str]| {
        let new = hosts.file.with_extension("new");
        std::fs::write(&new, services(policies)).expect("a file");
        std::fs::rename(&new, &hosts.file).expect("renamed");
    };
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = |count: usize| {
        let before = answered.load(Ordering::Relaxed);
        eventually("more requests", || {
            (answered.load(Ordering::Relaxed) >= before + count).then_some(())
        });
    };
    let is_accepted =
        || plain(&hosts.app_address(), "").is_ok_and(|it| it.starts_with("HTTP/1.1 200"));
    let plain_text_is_refused = || (!is_accepted()).then_some(());
    let plain_text_is_accepted = || is_accepted().then_some(());
    std::thread::scope(|scope| {
        let ending = SetOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(hosts.through("one", "/load"), 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        more(20);
        for _ in 0..3 {
            let open = kept_open(&hosts.app_address());
            apply(&[&peer_authentication("STRICT")]);
            assert!(ends(open), "the connection in plain text ends");
            eventually("STRICT", plain_text_is_refused);
            more(20);
            apply(&[]);
            eventually("PERMISSIVE", plain_text_is_accepted);
            more(20);
        }
        drop(ending);
    });
}

#[test]
fn probes_pass_under_strict() {
    let authority = MeshAuthority::new();
    let probe = "{httpGet: {port: 8080, path: /}, periodSeconds: 1}";
    let service = Service::new("app", "hello").probe("readinessProbe", probe);
    let manifest = manifests(&[service]) + &peer_authentication("STRICT");
    let hosts = Hosts::start(&manifest, &[&authority.argument()]);
    assert_eq!(hosts.gateway.get("/app/").status, 200);
    assert_eq!(hosts.app().status("/healthz/ready").status, 200);
}

#[test]
fn hosts_without_a_shared_authority_say_how_to_get_one() {
    let hosts = Hosts::start(&services(&[]), &[apart::CALLERS]);
    for host in [hosts.app(), &hosts.gateway] {
        let (log, problems) = (host.stderr(), host.report()["problems"].to_string());
        assert!(log.contains("--ca-dir"), "{log}");
        assert!(problems.contains("--ca-dir"), "{problems}");
    }
    assert_eq!(hosts.through("one", "/a"), 200);
}

/// A connection whose bytes are recorded on their way.
struct Wiretap {
    address: String,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Wiretap {
    fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let sent = Arc::<Mutex<Vec<u8>>>::default();
        let record = sent.clone();
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a connection");
            let mut server = TcpStream::connect(target).expect("the target");
            let (mut back, mut to) = (
                server.try_clone().expect("a handle"),
                client.try_clone().expect("a handle"),
            );
            std::thread::spawn(move || std::io::copy(&mut back, &mut to));
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = client.read(&mut piece) {
                record
                    .lock()
                    .expect("unpoisoned")
                    .extend_from_slice(&piece[..count]);
                if server.write_all(&piece[..count]).is_err() {
                    break;
                }
            }
        });
        Self { address, sent }
    }
}

#[test]
fn recorded_bytes_are_of_no_use() {
    let authority = MeshAuthority::new();
    let hosts = Hosts::start(&services(&[ONLY_ONE]), &[&authority.argument()]);
    let wire = Wiretap::before(hosts.app_address());
    let identity = authority.issue(ONE, VALID);
    let (status, _) = call(&wire.address, identity.client(), "/once", &[]).expect("an answer");
    assert_eq!(status, 200);
    let recorded = wire.sent.lock().expect("unpoisoned").clone();
    assert!(recorded.len() > 500);

    let mut replayed = TcpStream::connect(hosts.app_address()).expect("a connection");
    replayed
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    // The first record asks for the server's part, which is another one than the recorded.
    let first = 5 + usize::from(u16::from_be_bytes([recorded[3], recorded[4]]));
    let (hello, rest) = recorded.split_at(first);
    replayed.write_all(hello).expect("a reader");
    replayed.read_exact(&mut [0]).expect("the server's part");
    // The host may end the connection before everything is sent.
    let _ = replayed.write_all(rest);
    let mut answer = Vec::new();
    let _ = replayed.read_to_end(&mut answer);
    hosts.assert_refused("handshake");
    let is_once = |call: &Value| call["path"] == "/once";
    hosts.app().call("the request", is_once);
    let once = hosts.app().calls().into_iter().filter(is_once);
    assert_eq!(once.count(), 1);
}

#[test]
fn authorities_are_replaced_under_load_and_no_request_fails() {
    let mut authority = MeshAuthority::new();
    let manifest = services(&[ONLY_ONE, &peer_authentication("STRICT")]);
    let hosts = Hosts::start(&manifest, &[&authority.argument()]);
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = |count: usize| {
        let before = answered.load(Ordering::Relaxed);
        eventually("more requests", || {
            (answered.load(Ordering::Relaxed) >= before + count).then_some(())
        });
    };
    let is_trusted =
        |identity: &Identity| call(&hosts.app_address(), identity.client(), "/new", &[]).is_ok();
    std::thread::scope(|scope| {
        let ending = SetOnDrop(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(hosts.through("one", "/load"), 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        more(50);
        let (next, old) = (MeshAuthority::new(), authority.issue(ONE, VALID));
        let new = next.issue(ONE, VALID);
        assert!(is_trusted(&old) && !is_trusted(&new));
        authority.trust_also(&next);
        eventually("both are trusted", || is_trusted(&new).then_some(()));
        assert!(is_trusted(&old));
        hosts.have_read_the_authority(1);
        more(50);
        authority.replace_by(next);
        hosts.have_read_the_authority(2);
        more(50);
        authority.trust_only_itself();
        eventually("the old one is not trusted", || {
            (!is_trusted(&old)).then_some(())
        });
        assert!(is_trusted(&new));
        more(50);
        drop(ending);
    });
}
