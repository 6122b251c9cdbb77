//! TLS at the gateway: which certificate a client gets, which clients are accepted, and what
//! happens when certificates are missing or replaced.

mod authority;
mod client;
mod mesh_identity;
mod passthrough;
mod probes;

use std::fs;
use std::io;
use std::net::TcpStream as Tcp;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use self::authority::{Authority, Identity};
use self::client::{get, wait};
use crate::support::{Answer, Galleria, Host, PATIENCE, Service, SetOnDrop, eventually, manifests};

const RSA_KEY: &str = include_str!("../testing/rsa-only-for-tests.key");

/// The server of the Gateway that [`manifests`] writes.
const PLAIN: &str = "servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]";

/// A guest that returns the request, behind a Gateway with these servers.
fn echo_behind(servers: &str) -> String {
    behind("echo", servers)
}

/// A guest, which is the service `app`, behind these servers.
fn behind(guest: &'static str, servers: &str) -> String {
    let yaml = manifests(&[Service::new("app", guest)]);
    assert!(yaml.contains(PLAIN));
    yaml.replace(PLAIN, &format!("servers:\n{servers}"))
}

fn server(port: u16, hosts: &str, tls: &str) -> String {
    // Each server's port has its own name.
    let name: String = hosts.chars().filter(char::is_ascii_alphanumeric).collect();
    format!(
        "    - {{port: {{number: {port}, name: https-{port}-{name}, protocol: HTTPS}}, hosts: {hosts}, tls: {tls}}}\n"
    )
}

const HTTP: &str = "    - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}\n";

fn secret(name: &str, entries: &[(&str, &str)]) -> String {
    let entries = entries.iter().map(|(key, value)| {
        let quoted = serde_json::to_string(value).expect("JSON");
        format!("  {key}: {quoted}\n")
    });
    let entries: String = entries.collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: test}}\nstringData:\n{entries}---\n"
    )
}

fn tls_secret(name: &str, identity: &Identity) -> String {
    secret(
        name,
        &[
            ("tls.crt", &identity.certificate),
            ("tls.key", &identity.key),
        ],
    )
}

fn start(yaml: &str) -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
    let host = Galleria::run(folder.path()).arguments(&["--access-log", "json"]);
    (host.start(), folder)
}

/// Replaces a file at once, as editors and secret volumes do.
fn replace(file: &Path, contents: &str) {
    let new = file.with_extension("new");
    fs::write(&new, contents).expect("a file");
    fs::rename(&new, file).expect("a file");
}

/// The declared ports that are open now.
fn open_ports(host: &Host) -> Vec<u64> {
    let report = host.report();
    let listeners = report["listeners"].as_array().expect("listeners");
    let ports = listeners.iter().filter_map(|it| it["port"].as_u64());
    ports.collect()
}

/// What `galleria check` prints.
fn check(folder: &Path) -> String {
    check_with(folder, &[])
}

fn check_with(folder: &Path, flags: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .arg("check")
        .arg(folder)
        .args(flags)
        .output();
    String::from_utf8_lossy(&output.expect("galleria check").stdout).into_owned()
}

/// The headers that the guest received, from the lines that it returns.
fn received(answer: &Answer, name: &str) -> Vec<String> {
    let lines = answer.body.lines().skip(1);
    let headers = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of_name = headers.filter(|header| header["name"] == name);
    of_name
        .map(|header| header["value"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn requested_name_selects_certificate_and_service() {
    let authority = Authority::new();
    let simple = |name: &str| format!("{{mode: SIMPLE, credentialName: {name}}}");
    let rsa_key = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).expect("a key");
    let yaml = tls_secret("one", &authority.issue(&["one.example.com"]))
        + &tls_secret(
            "wild",
            &authority.issue_for(&["*.example.com"], 2, &rsa_key),
        )
        + &echo_behind(
            &(HTTP.to_owned()
                + &server(443, "[one.example.com]", &simple("one"))
                + &server(443, "['*.example.com']", &simple("wild"))),
        );
    let (host, _folder) = start(&yaml);
    let address = host.listener(443);
    let client = authority.client();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = authority.client_with(&[version], None);
        for name in ["one.example.com", "two.example.com"] {
            let answer = client.get(&address, name, "/app/");
            assert_eq!(answer.status, 200, "{name}");
            assert_eq!(received(&answer, "x-forwarded-proto"), ["https"]);
            assert_eq!(received(&answer, "x-forwarded-client-cert"), [""; 0]);
        }
    }
    let line = host.call("the call is logged", |line| {
        line["requested_server_name"] == "two.example.com"
    });
    assert_eq!(line["authority"], "two.example.com");

    // The other server has another certificate: RFC 9110, 15.5.20.
    let misdirected = |name: &str, host: &str| {
        let answer = client.try_get(&address, name, host, "/app/");
        answer.expect("an answer").status
    };
    assert_eq!(misdirected("one.example.com", "two.example.com"), 421);
    assert_eq!(misdirected("two.example.com", "ONE.example.com:443"), 421);
    assert_eq!(misdirected("two.example.com", "three.example.com"), 200);
    assert_eq!(misdirected("one.example.com", "elsewhere.org"), 404);

    let unknown = client
        .presented(&address, "elsewhere.org")
        .expect_err("no server");
    assert_eq!(unknown.kind(), io::ErrorKind::UnexpectedEof, "{unknown}");
    assert_eq!(host.get("/app/").status, 200, "HTTP is served beside it");
    let failed = ["port=\"443\"", "reason=\"handshake_failed\""];
    assert!(host.metric("galleria_connections_closed_total", &failed) >= 1.0);
    let expiry = ["certificate=\"test/wild\""];
    assert!(host.metric("galleria_certificate_expiry_timestamp_seconds", &expiry) > 1e9);
    let page = host.status_page(&[]).stdout;
    assert!(page.contains(&format!("https://{address}")), "{page}");
}

#[test]
fn http2_is_negotiated_and_its_misdirected_requests_are_refused() {
    let authority = Authority::new();
    let servers = ["a", "b"].map(|name| {
        let tls = format!("{{mode: SIMPLE, credentialName: {name}}}");
        server(443, &format!("[{name}.example.com]"), &tls)
    });
    let yaml = tls_secret("a", &authority.issue(&["a.example.com"]))
        + &tls_secret("b", &authority.issue(&["b.example.com"]))
        + &echo_behind(&servers.concat());
    let (host, _folder) = start(&yaml);
    let mut client = authority.client();
    client.config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let statuses = wait(async {
        let stream = client.connect(&host.listener(443), "a.example.com").await;
        let stream = stream.expect("a connection");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for host in ["a.example.com", "b.example.com", "a.example.com"] {
            let uri = format!("https://{host}/app/");
            let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new());
            let response = sender.send_request(request.expect("a request")).await;
            let response = response.expect("a response");
            statuses.push(response.status().as_u16());
            let body = response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(body.is_empty() || body.contains("\"https\""), "{body}");
        }
        statuses
    });
    assert_eq!(statuses, [200, 421, 200]);
}

#[test]
fn client_certificates_are_required_verified_and_described() {
    let (authority, other) = (Authority::new(), Authority::new());
    let spiffe = "spiffe://cluster.local/ns/test/sa/client";
    let identity = authority.issue(&["a.example.com"]);
    let (pem, list) = (authority.pem(), authority.revoke(13));
    let entries = [
        ("tls.crt", identity.certificate.as_str()),
        ("tls.key", &identity.key),
        ("ca.crt", &pem),
        ("ca.crl", &list),
    ];
    let yaml = secret("s", &entries)
        + &echo_behind(
            &(server(443, "[a.example.com]", "{mode: MUTUAL, credentialName: s}")
                + &server(
                    8443,
                    "[a.example.com]",
                    "{mode: OPTIONAL_MUTUAL, credentialName: s}",
                )),
        );
    let (host, _folder) = start(&yaml);
    let key = || KeyPair::generate().expect("a key");
    let good = authority.presenting(&authority.issue_for(&[spiffe, "client"], 7, &key()));
    let revoked = authority.presenting(&authority.issue_for(&[spiffe], 13, &key()));
    let foreign = authority.presenting(&other.issue_for(&[spiffe], 7, &key()));
    let none = authority.client();
    for (port, name, client, is_accepted) in [
        (443, "good", &good, true),
        (443, "none", &none, false),
        (443, "revoked", &revoked, false),
        (443, "foreign", &foreign, false),
        (8443, "good", &good, true),
        (8443, "none", &none, true),
        (8443, "revoked", &revoked, false),
    ] {
        let address = host.listener(port);
        let answer = client.try_get(&address, "a.example.com", "a.example.com", "/app/");
        assert_eq!(answer.is_ok(), is_accepted, "{port} {name}: {answer:?}");
        let Ok(answer) = answer else { continue };
        let headers = received(&answer, "x-forwarded-client-cert");
        match name {
            "good" => {
                let end = format!("Subject=\"CN=issued\";URI={spiffe};DNS=client");
                assert!(
                    headers.len() == 1 && headers[0].ends_with(&end),
                    "{headers:?}"
                );
                assert!(headers[0].starts_with("Hash="), "{headers:?}");
            }
            _ => assert_eq!(headers, [""; 0]),
        }
    }
}

#[test]
fn certificates_rotate_under_load_without_a_failed_request() {
    let authority = Authority::new();
    let gateway = echo_behind(&server(
        443,
        "[a.example.com]",
        "{mode: SIMPLE, credentialName: s}",
    ));
    let yaml = |identity: &Identity| tls_secret("s", identity) + &gateway;
    let (host, folder) = start(&yaml(&authority.issue(&["a.example.com"])));
    let address = host.listener(443);
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = authority.client();
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&done);
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(client.get(&address, "a.example.com", "/app/").status, 200);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let kept = scope.spawn(|| {
            wait(async {
                let mut stream = client
                    .connect(&address, "a.example.com")
                    .await
                    .expect("TLS");
                while !done.load(Ordering::Relaxed) {
                    let answer = get(&mut stream, "a.example.com", "/app/", "").await;
                    assert_eq!(answer.expect("the connection is kept").status, 200);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        });
        for _ in 0..5 {
            let next = authority.issue(&["a.example.com"]);
            let der = CertificateDer::from_pem_slice(next.certificate.as_bytes()).expect("PEM");
            replace(&folder.path().join("test.yaml"), &yaml(&next));
            eventually("the new certificate is presented", || {
                let presented = client.presented(&address, "a.example.com").expect("TLS");
                (presented == *der).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
        kept.join().expect("no failed request");
    });
    assert!(requests.load(Ordering::Relaxed) > 20);
}

#[test]
fn certificate_files_rotate_and_a_broken_one_keeps_the_previous() {
    let authority = Authority::new();
    let files = tempfile::tempdir().expect("a folder");
    let (chain, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    let tls = format!(
        "{{mode: SIMPLE, serverCertificate: {}, privateKey: {}}}",
        chain.display(),
        key.display()
    );
    let yaml = echo_behind(&(HTTP.to_owned() + &server(443, "['*']", &tls)));
    let (host, _folder) = start(&yaml);
    let client = authority.client();
    let is_open = || open_ports(&host).contains(&443);
    assert!(!is_open());
    let first = authority.issue(&["a.example.com"]);
    replace(&key, &first.key);
    replace(&chain, &first.certificate);
    eventually("the listener opens with its files", || {
        is_open().then_some(())
    });
    let address = host.listener(443);
    assert_eq!(client.get(&address, "a.example.com", "/app/").status, 200);

    replace(&chain, "nonsense");
    eventually("the broken file is reported", || {
        let report = host.report();
        let problems = report["problems"].as_array().expect("problems").iter();
        let mut texts = problems.filter_map(Value::as_str);
        texts
            .any(|it| it.contains("keeps its previous certificates"))
            .then_some(())
    });
    assert_eq!(client.get(&address, "a.example.com", "/app/").status, 200);

    let second = authority.issue(&["a.example.com"]);
    replace(&key, &second.key);
    replace(&chain, &second.certificate);
    let der = CertificateDer::from_pem_slice(second.certificate.as_bytes()).expect("PEM");
    eventually("the new files are used", || {
        (client.presented(&address, "a.example.com").expect("TLS") == *der).then_some(())
    });
    assert_eq!(host.report()["problems"], Value::Array(Vec::new()));
}

const API_GATEWAY: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: api, namespace: test}
spec:
  gatewayClassName: galleria
  listeners:
    - {name: plain, port: 8080, protocol: HTTP}
    - {name: secure, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: later}]}}
";

#[test]
fn missing_certificate_is_reported_and_the_rest_is_served() {
    let authority = Authority::new();
    let servers = HTTP.to_owned()
        + &server(443, "['*']", "{mode: SIMPLE, credentialName: later}")
        + &server(9443, "['*']", "{mode: SIMPLE, credentialName: mixed}");
    let (one, other) = (
        authority.issue(&["a.example.com"]),
        authority.issue(&["a.example.com"]),
    );
    let mixed = Identity {
        certificate: one.certificate.clone(),
        key: other.key,
    };
    let yaml = tls_secret("mixed", &mixed) + &echo_behind(&servers) + API_GATEWAY;
    let (host, folder) = start(&yaml);
    assert_eq!(open_ports(&host), [80, 8080]);
    assert_eq!(host.get("/app/").status, 200);
    let missing = "spec.servers[1].tls.credentialName: there is no Secret test/later";
    let mismatch = "its private key does not belong to its certificate";
    let report = host.report();
    let problems = report["problems"].to_string();
    let log = host.stderr();
    let check = check(folder.path());
    for (place, text) in [("status", &problems), ("log", &log), ("check", &check)] {
        assert!(text.contains(missing), "{place}: {text}");
        assert!(text.contains(mismatch), "{place}: {text}");
    }
    let conditions = |name: &str| {
        let gateways = host.objects("Gateway").into_iter();
        let mut of_name = gateways.filter(|it| it["metadata"]["name"] == name);
        of_name.next().expect("the Gateway")["status"].clone()
    };
    let reconciled = conditions("gateway")["conditions"][0].clone();
    assert_eq!(reconciled["reason"], "ServerNotOpened", "{reconciled}");
    let listener = conditions("api")["listeners"][1].to_string();
    assert!(listener.contains("InvalidCertificateRef"), "{listener}");
    let plain = conditions("api")["listeners"][0].to_string();
    assert!(!plain.contains("\"False\""), "{plain}");
    let events = host.objects("Event");
    assert!(
        events
            .iter()
            .any(|event| event["reason"] == "ListenerNotOpened"),
        "{events:?}"
    );

    // The certificate arrives.
    replace(
        &folder.path().join("test.yaml"),
        &(tls_secret("later", &one) + &yaml),
    );
    eventually("the listeners open", || {
        (open_ports(&host) == [80, 443, 8080, 8443]).then_some(())
    });
    let client = authority.client();
    assert_eq!(
        client
            .get(&host.listener(443), "a.example.com", "/app/")
            .status,
        200
    );
    assert!(
        client
            .presented(&host.listener(8443), "a.example.com")
            .is_ok()
    );
}

#[test]
fn ingress_serves_its_hosts_with_their_certificates() {
    let authority = Authority::new();
    let ingress = "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: edge, namespace: test}
spec:
  tls: [{hosts: [a.example.com], secretName: s}]
  rules:
    - host: a.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}
";
    let yaml = tls_secret("s", &authority.issue(&["a.example.com"])) + &echo_behind(HTTP) + ingress;
    let (host, _folder) = start(&yaml);
    let answer = authority
        .client()
        .get(&host.listener(443), "a.example.com", "/x");
    assert_eq!(
        (answer.status, received(&answer, "x-forwarded-proto")),
        (200, vec!["https".to_owned()])
    );
}

#[test]
fn gateway_of_the_deck_works_as_written() {
    let authority = Authority::new();
    let deck = include_str!("../../manifest/tests/deck/gateway-multi-host-tls.yaml");
    let secret = tls_secret(
        "shoppingportal-secret",
        &authority.issue(&["in.shoppingportal.com"]),
    )
    .replace("namespace: test", "namespace: shoppingportal");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("test.yaml"), format!("{secret}{deck}")).expect("a file");
    // As its selector says.
    let label = ["--gateway-label", "app=my-gateway-controller"];
    let host = Galleria::run(folder.path()).arguments(&label).start();
    let answer = host.get_with("/ui?a=1", &[("host", "in.shoppingportal.com")]);
    assert_eq!(answer.status, 301);
    assert!(
        answer
            .header("location")
            .starts_with("https://in.shoppingportal.com")
    );
    let client = authority.client();
    let presented = client.presented(&host.listener(9443), "in.shoppingportal.com");
    assert!(presented.is_ok(), "{presented:?}");
    // This machine has no such files.
    let problems = host.report()["problems"].to_string();
    assert!(problems.contains("/etc/certs/servercert.pem"), "{problems}");
}

/// In a cluster, a gateway's Secrets are where its pods are.
#[test]
fn secrets_of_gateways_are_in_the_namespace_of_the_gateway() {
    let authority = Authority::new();
    let identity = authority.issue(&["a.example.com"]);
    let mutual = "{mode: MUTUAL, credentialName: s, caCertCredentialName: clients}";
    let servers = server(443, "[a.example.com]", "{mode: SIMPLE, credentialName: s}")
        + &server(8443, "[a.example.com]", mutual);
    let secrets = tls_secret("s", &identity) + &secret("clients", &[("ca.crt", &authority.pem())]);
    let flag = ["--gateway-namespace", "istio-ingress"];
    for (place, flags, is_open) in [
        ("istio-ingress", &flag[..], true),
        ("test", &[][..], true),
        ("test", &flag[..], false),
        ("istio-ingress", &[][..], false),
    ] {
        let secrets = secrets.replace("namespace: test", &format!("namespace: {place}"));
        let folder = tempfile::tempdir().expect("a folder");
        let yaml = secrets + &echo_behind(&(HTTP.to_owned() + &servers));
        fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
        let host = Galleria::run(folder.path()).arguments(flags).start();
        let what = format!("Secrets in {place}, {flags:?}");
        let expected: &[u64] = if is_open { &[80, 443, 8443] } else { &[80] };
        assert_eq!(open_ports(&host), expected, "{what}");
        if is_open {
            let client = authority.client();
            let answer = client.get(&host.listener(443), "a.example.com", "/app/");
            assert_eq!(answer.status, 200, "{what}");
        }
        let printed = check_with(folder.path(), flags);
        assert_eq!(!printed.contains("no Secret"), is_open, "{what}: {printed}");
    }
}

#[test]
fn slow_handshakes_do_not_delay_other_clients() {
    use std::io::{Read, Write};
    let authority = Authority::new();
    let yaml = tls_secret("s", &authority.issue(&["a.example.com"]))
        + &echo_behind(&server(443, "['*']", "{mode: SIMPLE, credentialName: s}"));
    let (host, _folder) = start(&yaml);
    let address = host.listener(443);
    let client = authority.client();
    client.get(&address, "a.example.com", "/app/");
    // The beginning of a handshake record, and nothing more.
    let slow: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = Tcp::connect(&address).expect("a connection");
            let begun: &[u8] = if number % 2 == 0 { &[22, 3, 1, 2] } else { &[] };
            stream.write_all(begun).expect("a connection");
            stream
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.get(&address, "a.example.com", "/app/").status, 200);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let is_timeout = ended
            .as_ref()
            .is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
        assert!(!is_timeout, "the host ends it");
    }
}

/// The client of another implementation, which the build image has too.
#[test]
fn openssl_agrees_about_versions_and_resumption() {
    let authority = Authority::new();
    let yaml = tls_secret("s", &authority.issue(&["a.example.com"]))
        + &echo_behind(&server(443, "['*']", "{mode: SIMPLE, credentialName: s}"));
    let (host, folder) = start(&yaml);
    let address = host.listener(443);
    let ca = folder.path().join("ca.txt");
    fs::write(&ca, authority.pem()).expect("a file");
    let openssl = |more: &[&str]| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &address,
                "-servername",
                "a.example.com",
            ])
            .arg("-CAfile")
            .arg(&ca)
            .args(["-verify_return_error", "-ign_eof"])
            .args(more)
            .stdin({
                let request = folder.path().join("request.txt");
                let text = "GET /app/ HTTP/1.1\r\nhost: a.example.com\r\nconnection: close\r\n\r\n";
                fs::write(&request, text).expect("a file");
                fs::File::open(request).expect("a file")
            })
            .output()
            .expect("openssl; install it with `apt-get install openssl`");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let file = folder.path().join(format!("session{version}"));
        let file = file.to_str().expect("a path");
        let first = openssl(&[version, "-sess_out", file]);
        assert!(
            first.contains("HTTP/1.1 200") && first.contains(name),
            "{first}"
        );
        let second = openssl(&[version, "-sess_in", file]);
        assert!(second.contains("Reused, "), "{second}");
    }
    let old = openssl(&["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]);
    assert!(!old.contains("HTTP/1.1"), "{old}");
}
