//! Loads certificates and completes handshakes, with streams in memory.

mod clients;
mod handshake;
mod loading;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use galleria_mesh as mesh;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls::Alpn;
use crate::tls::verify::ServerVerifier;

const RSA_KEY: &str = include_str!("../../../tests/testing/rsa-only-for-tests.key");

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client's certificate with this serial number and these URIs.
    fn client(&self, serial: u64, uris: &[&str]) -> Identity {
        let mut params = CertificateParams::new(vec!["client.example.com".to_owned()]);
        let params = params.as_mut().expect("a name");
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name.push(DnType::CommonName, "client");
        for uri in uris {
            let uri = (*uri).to_owned().try_into().expect("ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let key = KeyPair::generate().expect("a key");
        let issued = params.clone().signed_by(&key, &self.0).expect("signed");
        Identity {
            certificate: issued.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A list that revokes these serial numbers.
    fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.0).expect("signed");
        list.pem().expect("PEM")
    }
}

fn identity_with(names: &[&str], key: &KeyPair) -> Identity {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let params = CertificateParams::new(names).expect("names");
    Identity {
        certificate: params.self_signed(key).expect("a certificate").pem(),
        key: key.serialize_pem(),
    }
}

fn ecdsa(names: &[&str]) -> Identity {
    identity_with(names, &KeyPair::generate().expect("a key"))
}

fn rsa(names: &[&str]) -> Identity {
    let key = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).expect("a key");
    identity_with(names, &key)
}

fn secret(name: &str, entries: &[(&str, &str)]) -> String {
    let entries = entries.iter().map(|(key, value)| {
        let quoted = serde_json::to_string(value).expect("JSON");
        format!("  {key}: {quoted}\n")
    });
    let entries: String = entries.collect();
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\nstringData:\n{entries}"
    )
}

fn tls_secret(name: &str, identity: &Identity) -> String {
    let Identity { certificate, key } = identity;
    secret(name, &[("tls.crt", certificate), ("tls.key", key)])
}

/// A Gateway with one server on port 443 for each pair of hosts and TLS settings.
fn gateway(servers: &[(&str, &str)]) -> String {
    let servers = servers.iter().enumerate().map(|(number, (hosts, tls))| {
        format!(
            "    - {{port: {{number: 443, name: s{number}, protocol: HTTPS}}, hosts: {hosts}, tls: {tls}}}\n"
        )
    });
    let servers: String = servers.collect();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw, namespace: shop}}\nspec:\n  servers:\n{servers}"
    )
}

fn load_after(yaml: &str, previous: &GatewayTls) -> GatewayTls {
    let read = galleria_manifest::read_str(Path::new("test.yaml"), yaml);
    let errors = read.diagnostics.iter();
    let mut errors = errors.filter(|it| it.severity == galleria_manifest::Severity::Error);
    assert_eq!(errors.next(), None, "in {yaml}");
    let state = mesh::State::new(std::time::Instant::now());
    let options = mesh::Options::default();
    let compiled = mesh::compile(&read.objects, &[], &options, &state);
    let listeners = compiled.snapshot.listeners();
    GatewayTls::load(
        listeners,
        &read.objects,
        &MeshCertificates::NotShared,
        previous,
    )
}

fn load(yaml: &str) -> GatewayTls {
    load_after(yaml, &GatewayTls::default())
}

/// A client that trusts every server.
struct Client {
    config: ClientConfig,
}

impl Client {
    fn new() -> Self {
        Self::with(&[&rustls::version::TLS12, &rustls::version::TLS13], None)
    }

    fn with(
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        Self::of(provider, versions, identity)
    }

    fn presenting(identity: &Identity) -> Self {
        let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
        Self::with(&versions, Some(identity))
    }

    fn of(
        provider: Arc<CryptoProvider>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Self {
        let verifier = ServerVerifier::any_certificate(&ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
                builder
                    .with_client_auth_cert(vec![chain.expect("PEM")], key.expect("PEM"))
                    .expect("an identity")
            }
        };
        Self { config }
    }

    fn alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        self
    }

    /// Completes the handshake and sends a byte in each direction.
    async fn connect(
        &self,
        port: &Arc<PortSecurity>,
        name: &str,
    ) -> io::Result<(TlsStream<DuplexStream>, accept::Secured<DuplexStream>)> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let Security::Tls(servers) = (*port.load()).clone() else {
            return Err(io::Error::other("not secure"));
        };
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let name = match name {
            // An address is not sent as a name.
            "" => ServerName::try_from("192.0.2.1").expect("an address"),
            name => ServerName::try_from(name.to_owned()).expect("a name"),
        };
        let client = async {
            let mut stream = connector.connect(name, near).await?;
            stream.write_all(b"?").await?;
            let mut answer = [0];
            stream.read_exact(&mut answer).await?;
            Ok::<_, io::Error>(stream)
        };
        let server = async {
            let Accepted::Secured(mut secured) = servers.accept(port, far).await? else {
                return Err(io::Error::other("passed through"));
            };
            let mut request = [0];
            secured.stream.read_exact(&mut request).await?;
            secured.stream.write_all(b"!").await?;
            secured.stream.flush().await?;
            Ok::<_, io::Error>(*secured)
        };
        // The failure of the server is the more precise one.
        let (client, server) = tokio::join!(client, server);
        let server = server?;
        Ok((client?, server))
    }

    async fn failure(&self, port: &Arc<PortSecurity>, name: &str) -> String {
        match self.connect(port, name).await {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

fn port_of(tls: &GatewayTls) -> Arc<PortSecurity> {
    let servers = tls.port(443).expect("an open port").clone();
    Arc::new(PortSecurity::new(Security::Tls(servers)))
}

fn opened(yaml: &str) -> Arc<PortSecurity> {
    let tls = load(yaml);
    assert_eq!(tls.faults, []);
    port_of(&tls)
}

/// The names of the certificate that the server presented.
fn presented(stream: &TlsStream<DuplexStream>) -> Vec<String> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().expect("a certificate");
    certificate::CertificateParts::of(&chain[0])
        .expect("X.509")
        .dns_names
}
