//! External services with TLS or HTTP/2: the effect of a DestinationRule on a plain
//! request of a guest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::{Shop, flags, with_rules};
use crate::support::{Answer, Host, Service};

/// A certificate and its key, as files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

/// A certificate authority that only this test uses.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { folder, issuer }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let issued = params.signed_by(&key, &self.issuer).expect("signed");
        let identity = Identity {
            certificate: self.folder.path().join(format!("{name}.pem")),
            key: self.folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&identity.certificate, issued.pem()).expect("a file");
        std::fs::write(&identity.key, key.serialize_pem()).expect("a file");
        identity
    }

    /// A server with the name `name`. With `clients`, it requires client certificates of
    /// this authority.
    fn server(&self, name: &str, clients: bool) -> SocketAddr {
        let identity = self.issue(name);
        let certificate = |file: &Path| CertificateDer::from_pem_file(file).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&self.file())).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let mut config = builder
            .with_single_cert(vec![certificate(&identity.certificate)], key)
            .expect("an identity");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        serve(Some(config))
    }
}

/// Responds with the protocol, the requested host, and whether the client presented a
/// certificate. The thread ends with the test program.
fn serve(config: Option<ServerConfig>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => answer(stream, false).await,
                        // A client may reject the certificate.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                let shown = stream.get_ref().1.peer_certificates().is_some();
                                answer(stream, shown).await;
                            }
                        }
                    }
                });
            }
        });
    });
    address
}

async fn answer<S>(stream: S, certificate: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let service = hyper::service::service_fn(
        move |request: http::Request<hyper::body::Incoming>| async move {
            let header = request.headers().get("host").cloned();
            let host = match request.uri().authority() {
                Some(authority) => authority.to_string(),
                None => header.map_or_else(String::new, |host| {
                    host.to_str().unwrap_or_default().to_owned()
                }),
            };
            let known = if certificate { "known" } else { "unknown" };
            let text = format!("{:?} {host} {known}", request.version());
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(
                bytes::Bytes::from(text),
            )))
        },
    );
    // Clients may end connections in any way.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A guest that makes outgoing calls, and `api.example.com` at `server`.
fn caller(server: SocketAddr, protocol: &str, tls: &str) -> Shop {
    let (ip, port) = (server.ip(), server.port());
    let number = if protocol == "HTTPS" { 443 } else { 80 };
    let entry = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: test}}
spec:
  hosts: [api.example.com]
  ports: [{{number: {number}, name: api, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: {ip}, ports: {{api: {port}}}}}]
"
    );
    let rule = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: api, namespace: test}}
spec:
  host: api.example.com
  trafficPolicy: {{tls: {tls}}}
"
    );
    let mut documents = vec![entry];
    if !tls.is_empty() {
        documents.push(rule);
    }
    Shop::start(&with_rules(&[Service::new("call", "call")], "", &documents))
}

fn ask(shop: &Shop) -> Answer {
    shop.host.get("/call/?url=http://api.example.com/price")
}

/// Asserts that the call failed before anything was sent.
fn refused(shop: &Shop, answer: &Answer) {
    assert_eq!(answer.header("x-upstream-status"), "503", "{}", answer.body);
    let call = &shop.calls("/price", 1)[0];
    assert!(flags(call).contains("UF"), "{call}");
    shop.counted(&["source_workload=\"call\"", "response_code=\"503\""], 1.0);
}

#[test]
fn tls_is_originated_with_the_authority_of_the_rule() {
    let authority = Authority::new();
    let server = authority.server("api.example.com", false);
    let tls = format!(
        "{{mode: SIMPLE, caCertificates: {}}}",
        authority.file().display()
    );
    let shop = caller(server, "HTTP", &tls);
    for _ in 0..2 {
        let answer = ask(&shop);
        assert_eq!(answer.header("x-upstream-status"), "200", "{}", answer.body);
        assert_eq!(answer.body, "HTTP/1.1 api.example.com unknown");
    }
    let call = &shop.calls("/price", 2)[0];
    assert_eq!(flags(call), "-");
    shop.counted(&["source_workload=\"call\"", "response_code=\"200\""], 2.0);
}

#[test]
fn server_certificate_of_an_unknown_authority_is_refused() {
    let server = Authority::new().server("api.example.com", false);
    let shop = caller(server, "HTTP", "{mode: SIMPLE}");
    refused(&shop, &ask(&shop));
}

#[test]
fn server_certificate_for_another_name_is_refused_unless_sni_names_it() {
    let authority = Authority::new();
    let server = authority.server("inside.example.net", false);
    let file = authority.file();
    let tls = format!("mode: SIMPLE, caCertificates: {}", file.display());
    let shop = caller(server, "HTTP", &format!("{{{tls}}}"));
    refused(&shop, &ask(&shop));
    let shop = caller(
        server,
        "HTTP",
        &format!("{{{tls}, sni: inside.example.net}}"),
    );
    assert_eq!(ask(&shop).body, "HTTP/1.1 api.example.com unknown");
}

#[test]
fn certificate_must_match_the_subject_alt_names() {
    let authority = Authority::new();
    let server = authority.server("inside.example.net", false);
    let trust = format!(
        "mode: SIMPLE, caCertificates: {}",
        authority.file().display()
    );
    let named = |names: &str| {
        let tls = format!("{{{trust}, sni: api.example.com, subjectAltNames: {names}}}");
        caller(server, "HTTP", &tls)
    };
    let shop = named("[other.example.net, inside.example.net]");
    assert_eq!(ask(&shop).body, "HTTP/1.1 api.example.com unknown");
    let shop = named("[other.example.net]");
    refused(&shop, &ask(&shop));
}

#[test]
fn changed_certificate_files_are_reloaded() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = new.server("api.example.com", false);
    let tls = format!("{{mode: SIMPLE, caCertificates: {}}}", old.file().display());
    let shop = caller(server, "HTTP", &tls);
    refused(&shop, &ask(&shop));
    std::fs::copy(new.file(), old.file()).expect("a copy");
    crate::support::eventually("the new authority is trusted", || {
        (ask(&shop).body == "HTTP/1.1 api.example.com unknown").then_some(())
    });
}

#[test]
fn client_certificate_of_the_rule_is_presented() {
    let authority = Authority::new();
    let server = authority.server("api.example.com", true);
    let client = authority.issue("shop.example.com");
    let trust = format!("caCertificates: {}", authority.file().display());
    let tls = format!(
        "{{mode: MUTUAL, {trust}, clientCertificate: {}, privateKey: {}}}",
        client.certificate.display(),
        client.key.display()
    );
    let shop = caller(server, "HTTP", &tls);
    assert_eq!(ask(&shop).body, "HTTP/1.1 api.example.com known");
    let shop = caller(server, "HTTP", &format!("{{mode: SIMPLE, {trust}}}"));
    assert_eq!(ask(&shop).header("x-upstream-status"), "503");
}

#[test]
fn missing_certificate_file_is_named_in_the_log() {
    let server = Authority::new().server("api.example.com", false);
    let tls = "{mode: SIMPLE, caCertificates: /nowhere/ca.pem}";
    let shop = caller(server, "HTTP", tls);
    refused(&shop, &ask(&shop));
    crate::support::eventually("the log names it", || {
        let mut logs = shop.hosts().map(Host::stderr);
        logs.any(|log| log.contains("/nowhere/ca.pem"))
            .then_some(())
    });
}

#[test]
fn http2_is_used_if_the_port_declares_it() {
    let shop = caller(serve(None), "HTTP2", "");
    for _ in 0..2 {
        assert_eq!(ask(&shop).body, "HTTP/2.0 api.example.com unknown");
    }
    let authority = Authority::new();
    let server = authority.server("api.example.com", false);
    let tls = format!(
        "{{mode: SIMPLE, caCertificates: {}}}",
        authority.file().display()
    );
    let shop = caller(server, "HTTP2", &tls);
    assert_eq!(ask(&shop).body, "HTTP/2.0 api.example.com unknown");
    let call = &shop.calls("/price", 1)[0];
    assert_eq!(flags(call), "-");
}

#[test]
fn https_request_of_a_guest_originates_tls() {
    let server = Authority::new().server("api.example.com", false);
    let ask = |shop: &Shop| shop.host.get("/call/?url=https://api.example.com/price");
    // No public authority signed the server's certificate.
    let shop = caller(server, "HTTPS", "");
    refused(&shop, &ask(&shop));
    let shop = caller(server, "HTTPS", "{mode: SIMPLE, insecureSkipVerify: true}");
    assert_eq!(ask(&shop).body, "HTTP/1.1 api.example.com unknown");
}
