//! Handshakes between two workloads, with streams in memory.

use std::io;
use std::sync::Arc;

use galleria_mesh::inbound::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::Accepted;
use super::*;
use crate::tls::Alpn;
use crate::tls::verify::ServerVerifier;

const UI: &str = "spiffe://cluster.local/ns/shop/sa/ui";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
type Certificate = Arc<CertifiedKey>;

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }

    /// For these URIs, until the end of `year`.
    fn certificate(&self, uris: &[&str], year: i32) -> Certificate {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let uris = uris.iter().map(|&uri| uri.to_owned().try_into());
        let uris = uris.map(|uri| SanType::URI(uri.expect("ASCII")));
        params.subject_alt_names = uris.collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = ring::sign::any_ecdsa_type(&key).expect("a key");
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

fn server(authority: &Authority, certificate: Certificate, is_strict: bool) -> WorkloadServer {
    let id: SpiffeId = CART.parse().expect("a SPIFFE ID");
    WorkloadServer::new(id, certificate, authority.roots(), is_strict).expect("a server")
}

fn client(authority: &Authority, certificate: Certificate, names: &[&str]) -> ClientConfig {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let client = workload_client(certificate, authority.roots(), names, "cart.shop.svc");
    client.expect("a client").0
}

/// A client that trusts every server.
fn trusting(
    version: &'static SupportedProtocolVersion,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    let verifier = ServerVerifier::any_certificate(&provider);
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

/// Completes the handshake and sends a byte in each direction.
async fn connect(
    server: WorkloadServer,
    client: ClientConfig,
) -> (
    io::Result<TlsStream<DuplexStream>>,
    io::Result<Accepted<DuplexStream>>,
) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let connector = TlsConnector::from(Arc::new(client));
    let client = async {
        let name = "cart.shop.svc".try_into().expect("a name");
        let mut stream = connector.connect(name, near).await?;
        stream.write_all(b"?").await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let server = async {
        let mut accepted = server.accept(far).await?;
        accepted.stream.read_exact(&mut [0]).await?;
        accepted.stream.write_all(b"!").await?;
        accepted.stream.flush().await?;
        Ok(accepted)
    };
    tokio::join!(client, server)
}

#[tokio::test]
async fn both_ends_prove_who_they_are() {
    let authority = Authority::new();
    let [ui, cart] = [UI, CART].map(|uri| authority.certificate(&[uri], 2999));
    let server = server(&authority, cart, true);
    let (client, accepted) = connect(server, client(&authority, ui, &[CART])).await;
    let accepted = accepted.expect("a connection");
    assert_eq!(accepted.session.id, Some(UI.parse().expect("a SPIFFE ID")));
    assert_eq!(accepted.alpn, Some(Alpn::Http2));
    let forwarded = accepted.session.forwarded.expect("a header");
    let forwarded = forwarded.to_str().expect("text");
    assert!(
        forwarded.starts_with(&format!("By={CART};Hash=")),
        "{forwarded}"
    );
    assert!(
        forwarded.ends_with(&format!(";Subject=\"\";URI={UI}")),
        "{forwarded}"
    );
    let client = client.expect("a connection");
    let (_, connection) = client.get_ref();
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
}

#[tokio::test]
async fn caller_that_proves_nothing_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let foreign = "spiffe://example.com/ns/shop/sa/ui";
    for (name, certificate, expected) in [
        (
            "another authority",
            other.certificate(&[UI], 2999),
            TlsRefusal::UnknownAuthority,
        ),
        (
            "expired",
            authority.certificate(&[UI], 2021),
            TlsRefusal::Expired,
        ),
        (
            "no SPIFFE ID",
            authority.certificate(&["urn:a"], 2999),
            TlsRefusal::WrongIdentity,
        ),
        (
            "no name",
            authority.certificate(&[], 2999),
            TlsRefusal::WrongIdentity,
        ),
        (
            "two IDs",
            authority.certificate(&[UI, CART], 2999),
            TlsRefusal::WrongIdentity,
        ),
        (
            "another trust domain",
            authority.certificate(&[foreign], 2999),
            TlsRefusal::WrongIdentity,
        ),
    ] {
        for is_strict in [true, false] {
            let cart = authority.certificate(&[CART], 2999);
            let server = server(&authority, cart, is_strict);
            let client = client(&authority, certificate.clone(), &[CART]);
            let error = connect(server, client).await.1.err().expect(name);
            let (refused, _) = TlsRefusal::of(&error).expect(name);
            assert_eq!(refused, expected, "{name}: {error}");
        }
    }
}

#[tokio::test]
async fn caller_without_a_certificate_has_no_identity_and_is_refused_if_strict() {
    let authority = Authority::new();
    let nobody = || trusting(&TLS13).with_no_client_auth();
    let cart = || authority.certificate(&[CART], 2999);
    let permissive = connect(server(&authority, cart(), false), nobody()).await.1;
    let session = permissive.expect("a connection").session;
    assert_eq!((session.id, session.forwarded), (None, None));
    let strict = connect(server(&authority, cart(), true), nobody()).await.1;
    let error = strict.err().expect("refused");
    let refused = TlsRefusal::of(&error).map(|it| it.0);
    assert_eq!(refused, Some(TlsRefusal::NoCertificate));
}

#[tokio::test]
async fn server_must_be_the_workload_that_is_called() {
    let (authority, other) = (Authority::new(), Authority::new());
    let [cart, expired] = [2999, 2021].map(|year| authority.certificate(&[CART], year));
    let foreign = other.certificate(&[CART], 2999);
    for (name, presented, names, expected) in [
        ("by its ID", &cart, &[CART][..], None),
        ("one of several names", &cart, &[UI, CART], None),
        (
            "another workload",
            &cart,
            &[UI],
            Some(TlsRefusal::WrongIdentity),
        ),
        ("no name", &cart, &[], Some(TlsRefusal::WrongIdentity)),
        ("expired", &expired, &[CART], Some(TlsRefusal::Expired)),
        (
            "another authority",
            &foreign,
            &[CART],
            Some(TlsRefusal::UnknownAuthority),
        ),
    ] {
        let ui = authority.certificate(&[UI], 2999);
        let server = server(&authority, presented.clone(), true);
        let (connected, _) = connect(server, client(&authority, ui, names)).await;
        let refused = connected.err().and_then(|error| TlsRefusal::of(&error));
        let refused = refused.map(|it| it.0);
        assert_eq!(refused, expected, "{name}");
    }
}

#[tokio::test]
async fn only_tls_1_3_is_spoken() {
    let authority = Authority::new();
    let [ui, cart] = [UI, CART].map(|uri| authority.certificate(&[uri], 2999));
    for (version, is_accepted) in [(&TLS12, false), (&TLS13, true)] {
        let presented = Arc::new(SingleCertAndKey::from(ui.clone()));
        let config = trusting(version).with_client_cert_resolver(presented);
        let server = server(&authority, cart.clone(), true);
        let accepted = connect(server, config).await.1;
        assert_eq!(accepted.is_ok(), is_accepted);
    }
}

#[tokio::test]
async fn sidecar_that_offers_only_istio_is_accepted_without_a_version() {
    let authority = Authority::new();
    let [ui, cart] = [UI, CART].map(|uri| authority.certificate(&[uri], 2999));
    let mut client = client(&authority, ui, &[CART]);
    client.alpn_protocols = vec![ISTIO.to_vec()];
    let (client, accepted) = connect(server(&authority, cart, true), client).await;
    assert!(client.is_ok());
    assert_eq!(accepted.expect("a connection").alpn, None);
}
