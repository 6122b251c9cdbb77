//! Whom to trust, and what to show: `trafficPolicy.tls` as settings of rustls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use galleria_manifest::model::{ClientTls, ClientTlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Why TLS settings cannot be used. Certificates are named by their files and
/// never shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: {source}", file.display())]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: not a PEM file with {what}", file.display())]
    Pem { file: PathBuf, what: &'static str },
    #[error("mode MUTUAL needs clientCertificate and privateKey")]
    NoClientCertificate,
    #[error("`{0}` is not a valid DNS name; set sni")]
    ServerName(String),
    #[error("credentialName is not supported by this host; use files instead")]
    Credential,
    #[error("mode ISTIO_MUTUAL only works for workloads of this mesh; use SIMPLE or MUTUAL")]
    IstioMutual,
    #[error("rustls refuses them")]
    Refused(#[from] rustls::Error),
    #[error("cannot use the certificate authorities")]
    Authorities(#[from] rustls::client::VerifierBuilderError),
}

/// How a server proves itself, and the client to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientTlsConfig {
    server_name: String,
    mode: Mode,
    /// `caCertificates`; the public authorities where None.
    authorities: Option<PathBuf>,
    /// `subjectAltNames`: the certificate must be for one of these, where there
    /// are any, and not for the server name.
    names: Vec<String>,
    /// `insecureSkipVerify`.
    anybody: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Mode {
    Simple,
    Mutual(Option<(PathBuf, PathBuf)>),
    Istio,
    Credential,
}

impl ClientTlsConfig {
    /// What a request for `https` means by itself.
    pub(super) fn public(host: &str) -> Self {
        Self {
            server_name: host.to_owned(),
            mode: Mode::Simple,
            authorities: None,
            names: Vec::new(),
            anybody: false,
        }
    }

    /// What a DestinationRule says; `host` where it names no `sni`.
    pub(super) fn originated(tls: &ClientTls, host: &str) -> Self {
        let files = tls
            .client_certificate
            .as_ref()
            .zip(tls.private_key.as_ref());
        let mode = match tls.mode {
            _ if tls.credential_name.is_some() => Mode::Credential,
            ClientTlsMode::Mutual => {
                Mode::Mutual(files.map(|(certificate, key)| (certificate.into(), key.into())))
            }
            ClientTlsMode::IstioMutual => Mode::Istio,
            ClientTlsMode::Simple | ClientTlsMode::Disable => Mode::Simple,
        };
        // `system` is Istio's word for the public authorities.
        let authorities = tls.ca_certificates.as_ref();
        let authorities = authorities.filter(|file| !file.is_empty() && *file != "system");
        Self {
            server_name: tls.sni.clone().unwrap_or_else(|| host.to_owned()),
            mode,
            authorities: authorities.map(PathBuf::from),
            names: tls.subject_alt_names.clone(),
            anybody: tls.insecure_skip_verify,
        }
    }

    /// What the URL of a database says: whose certificates are believed, the
    /// public authorities' where it names none, or anybody's.
    pub(crate) fn database(host: &str, authorities: Option<PathBuf>, anybody: bool) -> Self {
        Self {
            authorities,
            anybody,
            ..Self::public(host)
        }
    }

    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, TlsError> {
        server_name(&self.server_name)
    }

    /// When each of its files was changed last; a file that is not there is None.
    pub(super) fn stamps(&self) -> Vec<Option<SystemTime>> {
        let identity = match &self.mode {
            Mode::Mutual(Some((certificate, key))) => vec![certificate, key],
            _ => Vec::new(),
        };
        let files = self.authorities.iter().chain(identity);
        files
            .map(|file| std::fs::metadata(file).ok()?.modified().ok())
            .collect()
    }

    /// Reads the certificates.
    pub(crate) async fn config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let builder = if self.anybody {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            let roots = Arc::new(self.roots().await?);
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
            let names = self.names.iter();
            let names = names
                .map(|name| server_name(name))
                .collect::<Result<_, _>>()?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Named { inner, names }))
        };
        match &self.mode {
            Mode::Simple => Ok(builder.with_no_client_auth()),
            Mode::Mutual(None) => Err(TlsError::NoClientCertificate),
            Mode::Mutual(Some((certificate, key))) => {
                let chain = certificates(certificate).await?;
                let pem = read(key).await?;
                let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Pem {
                    file: key.clone(),
                    what: "a private key",
                })?;
                Ok(builder.with_client_auth_cert(chain, key)?)
            }
            Mode::Istio => Err(TlsError::IstioMutual),
            Mode::Credential => Err(TlsError::Credential),
        }
    }

    async fn roots(&self) -> Result<RootCertStore, TlsError> {
        let Some(file) = &self.authorities else {
            return Ok(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            });
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file).await? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }
}

/// Settings that trust nobody.
pub(super) fn nobody() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

async fn read(file: &PathBuf) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(file)
        .await
        .map_err(|source| TlsError::Read {
            file: file.clone(),
            source,
        })
}

async fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file).await?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| TlsError::Pem {
            file: file.clone(),
            what: "certificates",
        })
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// The certificate must be for one of `names`; without any, for the server.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |name: &ServerName<'_>| {
            let inner = &self.inner;
            inner.verify_server_cert(certificate, intermediates, name, ocsp, now)
        };
        let Some((first, others)) = self.names.split_first() else {
            return verify(name);
        };
        let verified = others.iter().map(verify).find(Result::is_ok);
        verified.unwrap_or_else(|| verify(first))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `insecureSkipVerify`: any certificate will do, as long as the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
