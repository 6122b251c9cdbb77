//! The certificate authority of a mesh, in a folder for `--ca-dir`, and certificates that it
//! issues to whoever is not a host.

use std::fs;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

/// See the module's documentation.
pub struct MeshAuthority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl MeshAuthority {
    pub fn new() -> Self {
        let issuer = issuer("mesh");
        let folder = tempfile::tempdir().expect("a folder");
        let this = Self { folder, issuer };
        this.write(&this.issuer.pem());
        this
    }

    /// For the command line of every host of the mesh.
    pub fn argument(&self) -> String {
        format!("--ca-dir={}", self.folder.path().display())
    }

    /// The certificate of the authority, as PEM.
    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// The file with the trusted certificates.
    pub fn root_file(&self) -> String {
        let file = self.folder.path().join("root-cert.pem");
        file.display().to_string()
    }

    /// Trusts the authorities of `other` as well from now on.
    pub fn trust_also(&self, other: &Self) {
        self.write(&(self.root() + &other.root()));
    }

    /// Becomes `next`, whose certificates are trusted already.
    pub fn replace_by(&mut self, next: Self) {
        let old = std::mem::replace(&mut self.issuer, next.issuer);
        self.write(&(self.root() + &old.pem()));
    }

    /// Trusts no other authority any more.
    pub fn trust_only_itself(&self) {
        self.write(&self.root());
    }

    /// A certificate for a SPIFFE ID, until the end of `year`.
    pub fn issue(&self, id: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let id = id.to_owned().try_into().expect("ASCII");
        params.subject_alt_names = vec![SanType::URI(id)];
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &self.issuer).expect("signed");
        Identity {
            certificate: issued.pem(),
            key: key.serialize_pem(),
        }
    }

    fn write(&self, roots: &str) {
        let key = self.issuer.key().serialize_pem();
        let certificate = self.issuer.pem();
        for (name, text) in [
            ("root-cert.pem", roots),
            ("ca-cert.pem", &certificate),
            ("ca-key.pem", &key),
        ] {
            let file = self.folder.path().join(name);
            let new = file.with_extension("new");
            fs::write(&new, text).expect("a file");
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&new, permissions).expect("its mode");
            fs::rename(&new, &file).expect("renamed");
        }
    }
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

impl Identity {
    /// A client that presents this, as a sidecar does, and does not verify the server.
    pub fn client(&self) -> ClientConfig {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_client_auth_cert(vec![chain], key)
            .expect("an identity");
        config.alpn_protocols = vec![b"istio".to_vec(), b"h2".to_vec()];
        config
    }
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
