//! Connections that the gateway does not decrypt, beside servers that it does.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Identity};
use super::client::{Client, wait};
use super::{check, echo_behind, server, start, tls_secret};
use crate::support::{Host, eventually};

/// A TLS server that returns what it reads until the client closes its side, in capitals.
/// Returns its port. The thread ends with the test program.
fn outside(identity: &Identity) -> u16 {
    let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("an identity");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut buffer = vec![0; 16 << 10];
                    loop {
                        let count = stream.read(&mut buffer).await?;
                        if count == 0 {
                            return stream.shutdown().await;
                        }
                        let text = buffer[..count].to_ascii_uppercase();
                        stream.write_all(&text).await?;
                        stream.flush().await?;
                    }
                });
            }
        });
    });
    port
}

/// A port that nothing listens on.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn entry(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: test}}\nspec:\n  hosts: [{name}.outside.com]\n  location: MESH_EXTERNAL\n  ports: [{{number: 443, name: tls, protocol: TLS}}]\n  resolution: STATIC\n  endpoints: [{{address: 127.0.0.1, ports: {{tls: {port}}}}}]\n"
    )
}

fn rule(name: &str, to: &str) -> String {
    format!(
        "    - {{match: [{{sniHosts: ['{name}']}}], route: [{{destination: {{host: {to}}}}}]}}\n"
    )
}

/// More bytes than wait in the host, in both directions at once.
fn carries_bytes_both_ways(host: &Host, client: &Client) {
    let address = host.listener(443);
    let sent = "hello ".repeat(100_000);
    let answer = wait(async {
        let stream = client.connect(&address, "a.pass.example.com").await;
        let (mut reader, mut writer) = tokio::io::split(stream.expect("the server outside"));
        let write = async {
            writer.write_all(sent.as_bytes()).await?;
            writer.flush().await
        };
        let mut answer = vec![0; sent.len()];
        let (written, read) = tokio::join!(write, reader.read_exact(&mut answer));
        written.expect("written");
        read.expect("read");
        answer
    });
    assert_eq!(answer, sent.to_ascii_uppercase().into_bytes());
    let line = host.call("the connection is logged", |line| {
        line["requested_server_name"] == "a.pass.example.com"
    });
    assert_eq!(line["response_flags"], "-", "{line}");
    assert_eq!(line["upstream_cluster"], "outbound|443||open.outside.com");
    assert_eq!(line["method"], serde_json::Value::Null);
    assert!(line["bytes_sent"].as_u64() > Some(600_000), "{line}");
    assert!(line["bytes_received"].as_u64() > Some(600_000), "{line}");
    let of = [
        "destination_service=\"open.outside.com\"",
        "response_flags=\"-\"",
    ];
    assert_eq!(host.metric("istio_tcp_connections_opened_total", &of), 1.0);
    assert_eq!(host.metric("istio_tcp_connections_closed_total", &of), 1.0);
    assert!(host.metric("istio_tcp_sent_bytes_total", &of) > 600_000.0);
    assert!(host.metric("istio_tcp_received_bytes_total", &of) > 600_000.0);
}

#[test]
fn connections_are_passed_through_by_their_requested_name() {
    let authority = Authority::new();
    let names = ["*.pass.example.com", "pass.example.com"];
    let port = outside(&authority.issue(&names));
    let tls = "{mode: SIMPLE, credentialName: own}";
    let rules = rule("*.pass.example.com", "open.outside.com")
        + &rule("closed.pass.example.com", "closed.outside.com")
        + &rule("guest.pass.example.com", "app");
    let yaml = tls_secret("own", &authority.issue(&["own.example.com"]))
        + &echo_behind(
            &(server(443, "['own.example.com']", tls)
                + &server(
                    443,
                    "['*.pass.example.com', pass.example.com]",
                    "{mode: PASSTHROUGH}",
                )),
        )
        + &entry("open", port)
        + &entry("closed", closed_port())
        + &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: pass, namespace: test}}\nspec:\n  hosts: ['*.pass.example.com']\n  gateways: [gateway]\n  tls:\n{rules}"
        );
    let (host, folder) = start(&yaml);
    let address = host.listener(443);
    let client = authority.client();

    carries_bytes_both_ways(&host, &client);

    // The server of the same port that decrypts.
    assert_eq!(client.get(&address, "own.example.com", "/app/").status, 200);

    // A closed port, a guest, and a name of the server that no rule has.
    for (name, flags) in [
        ("closed.pass.example.com", "UF,URX"),
        ("guest.pass.example.com", "UF,URX"),
        ("pass.example.com", "NR"),
    ] {
        let error = client.presented(&address, name).expect_err("closed");
        assert_eq!(
            error.kind(),
            io::ErrorKind::UnexpectedEof,
            "{name}: {error}"
        );
        let line = host.call("the refusal is logged", |line| {
            line["requested_server_name"] == name
        });
        assert_eq!(line["response_flags"], flags, "{line}");
        let refused = format!("response_flags=\"{flags}\"");
        assert!(host.metric("istio_tcp_connections_closed_total", &[&refused]) >= 1.0);
    }
    // A name of no server.
    let closed = ["port=\"443\"", "reason=\"handshake_failed\""];
    let before = host.metric("galleria_connections_closed_total", &closed);
    assert!(client.presented(&address, "elsewhere.org").is_err());
    eventually("the connection is counted", || {
        let now = host.metric("galleria_connections_closed_total", &closed);
        (now == before + 1.0).then_some(())
    });
    let printed = check(folder.path());
    assert!(
        printed.contains("the pods of `app` are components"),
        "{printed}"
    );
}

#[test]
fn policies_of_the_gateway_hold_for_connections_that_it_does_not_decrypt() {
    let authority = Authority::new();
    let names = ["allowed.example.com", "denied.example.com"];
    let port = outside(&authority.issue(&names));
    let policy = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  rules: [{when: [{key: connection.sni, values: [allowed.example.com]}]}]
";
    let yaml = echo_behind(&server(443, "['*.example.com']", "{mode: PASSTHROUGH}"))
        + &entry("open", port)
        + &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: pass, namespace: test}}\nspec:\n  hosts: ['*.example.com']\n  gateways: [gateway]\n  tls:\n{}",
            rule("*.example.com", "open.outside.com")
        )
        + policy;
    let (host, _folder) = start(&yaml);
    let address = host.listener(443);
    let client = authority.client();
    assert!(client.presented(&address, "allowed.example.com").is_ok());
    assert!(client.presented(&address, "denied.example.com").is_err());
    let line = host.call("the denial is logged", |line| {
        line["requested_server_name"] == "denied.example.com"
    });
    let details = &line["connection_termination_details"];
    assert_eq!(details, "rbac_access_denied_matched_policy[none]", "{line}");
}
