//! TLS towards other servers: which certificates are trusted, and which one is presented.
//!
//! The settings come from `trafficPolicy.tls` of a DestinationRule, from a request for
//! `https`, or from the URL of a database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use galleria_manifest::model::{ClientTls, ClientTlsMode};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::files::{PemFile, certificates, private_key};
use super::verify::{ServerVerifier, SubjectAltNames};

/// A connection to a server, secured by TLS.
pub(crate) type ClientStream<S> = tokio_rustls::client::TlsStream<S>;

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: {source}", file.display())]
    Read { file: PathBuf, source: io::Error },
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
    #[error("mutual TLS needs an authority that all hosts share; start them with --ca-dir")]
    NoSharedAuthority,
    #[error("cannot issue a certificate")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("rustls refuses them")]
    Refused(#[from] rustls::Error),
    #[error("cannot use the certificate authorities")]
    Authorities(#[from] rustls::client::VerifierBuilderError),
    #[error("the host is stopping")]
    Stopping,
}

/// TLS settings for connections to one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientTlsConfig {
    server_name: String,
    context: ClientTlsContext,
}

/// The part of the settings that is independent of the server's name: servers with the same
/// context share one rustls configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientTlsContext {
    mode: Mode,
    /// `caCertificates`. The public authorities if None.
    authorities: Option<PemFile>,
    /// `subjectAltNames`. If there are any, the server's certificate must be valid for one of
    /// them instead of for the server name.
    subject_alt_names: Vec<String>,
    insecure_skip_verify: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Mode {
    Simple,
    Mutual(Option<ClientCertificate>),
    Istio,
    Credential,
}

/// The files of the certificate that is presented to servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientCertificate {
    chain: PemFile,
    key: PemFile,
}

/// The contents of the files of a context.
pub(super) struct Contents {
    authorities: Option<Vec<u8>>,
    chain: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// Identifies contents without keeping private keys in memory.
pub(super) type ContentsDigest = [u8; 32];

impl ClientTlsConfig {
    /// The settings of a request for `https` that no DestinationRule covers.
    pub(crate) fn public(host: &str) -> Self {
        Self {
            server_name: host.to_owned(),
            context: ClientTlsContext {
                mode: Mode::Simple,
                authorities: None,
                subject_alt_names: Vec::new(),
                insecure_skip_verify: false,
            },
        }
    }

    /// The settings of a DestinationRule. `host` is the server name if it sets no `sni`.
    pub(crate) fn originated(tls: &ClientTls, host: &str) -> Self {
        let certificate = tls
            .client_certificate
            .as_ref()
            .zip(tls.private_key.as_ref())
            .map(|(chain, key)| ClientCertificate {
                chain: PemFile::new(chain),
                key: PemFile::new(key),
            });
        let mode = match tls.mode {
            _ if tls.credential_name.is_some() => Mode::Credential,
            ClientTlsMode::Mutual => Mode::Mutual(certificate),
            ClientTlsMode::IstioMutual => Mode::Istio,
            ClientTlsMode::Simple | ClientTlsMode::Disable => Mode::Simple,
        };
        Self {
            server_name: tls.sni.clone().unwrap_or_else(|| host.to_owned()),
            context: ClientTlsContext {
                mode,
                authorities: named_file(tls.ca_certificates.as_ref()).map(PemFile::new),
                subject_alt_names: tls.subject_alt_names.clone(),
                insecure_skip_verify: tls.insecure_skip_verify,
            },
        }
    }

    /// The settings of a database URL: `authorities` are the trusted authorities, the public
    /// ones if None.
    pub(crate) fn database(
        host: &str,
        authorities: Option<PemFile>,
        insecure_skip_verify: bool,
    ) -> Self {
        let mut config = Self::public(host);
        config.context.authorities = authorities;
        config.context.insecure_skip_verify = insecure_skip_verify;
        config
    }

    pub(super) fn context(&self) -> &ClientTlsContext {
        &self.context
    }

    /// # Errors
    /// [`TlsError::ServerName`]
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, TlsError> {
        server_name(&self.server_name)
    }

    /// Reads the certificate files and prepares connections with them.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub(crate) async fn prepare(&self) -> Result<ClientHandshake, TlsError> {
        let (config, _) = self.context.clone().load().await?;
        Ok(ClientHandshake {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: self.server_name()?,
        })
    }
}

/// Ready to secure connections to one server.
pub(crate) struct ClientHandshake {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl ClientHandshake {
    /// # Errors
    /// The handshake failed, for instance because the server's certificate is not trusted.
    pub(crate) async fn connect<S>(&self, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.server_name.clone();
        self.connector.connect(name, stream).await
    }
}

impl ClientTlsContext {
    /// The files that are read: authorities, certificate chain, private key.
    fn sources(&self) -> [Option<&PemFile>; 3] {
        let authorities = self.authorities.as_ref();
        let certificate = match &self.mode {
            Mode::Mutual(certificate) => certificate.as_ref(),
            Mode::Simple | Mode::Istio | Mode::Credential => None,
        };
        [
            authorities.filter(|_| !self.insecure_skip_verify),
            certificate.map(|certificate| &certificate.chain),
            certificate.map(|certificate| &certificate.key),
        ]
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &PemFile> {
        self.sources().into_iter().flatten()
    }

    /// Reads the files and builds the rustls configuration, on a thread for blocking work.
    pub(super) async fn load(self) -> Result<(ClientConfig, ContentsDigest), TlsError> {
        let loading = tokio::task::spawn_blocking(move || {
            let contents = self.read()?;
            Ok((self.build(&contents)?, contents.digest()))
        });
        loading.await.unwrap_or(Err(TlsError::Stopping))
    }

    /// Reads the files. Blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let [authorities, chain, key] = self.sources();
        let read = |file: Option<&PemFile>| file.map(PemFile::read).transpose();
        Ok(Contents {
            authorities: read(authorities)?,
            chain: read(chain)?,
            key: read(key)?,
        })
    }

    /// Builds the rustls configuration from `contents`.
    ///
    /// # Errors
    /// The settings are not supported, or the contents are not valid: for instance, the key
    /// does not belong to the certificate.
    pub(super) fn build(&self, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let verifier = if self.insecure_skip_verify {
            ServerVerifier::any_certificate(&provider)
        } else {
            let names = self.subject_alt_names.iter().cloned();
            let (uris, names): (Vec<_>, Vec<_>) = names.partition(|name| name.contains("://"));
            let names = names.iter().map(|name| server_name(name));
            let names = names.collect::<Result<_, _>>()?;
            let names = SubjectAltNames { names, uris };
            let roots = Arc::new(self.roots(contents)?);
            ServerVerifier::new(&provider, roots, move |certificate, server| {
                names.check(certificate, server)
            })
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match &self.mode {
            Mode::Simple => Ok(builder.with_no_client_auth()),
            Mode::Mutual(None) => Err(TlsError::NoClientCertificate),
            Mode::Mutual(Some(certificate)) => {
                let chain = contents.chain.as_deref().unwrap_or_default();
                let chain = certificates(&certificate.chain, chain)?;
                let key = contents.key.as_deref().unwrap_or_default();
                let key = private_key(&certificate.key, key)?;
                Ok(builder.with_client_auth_cert(chain, key)?)
            }
            Mode::Istio => Err(TlsError::IstioMutual),
            Mode::Credential => Err(TlsError::Credential),
        }
    }

    fn roots(&self, contents: &Contents) -> Result<RootCertStore, TlsError> {
        let Some((file, pem)) = self.authorities.as_ref().zip(contents.authorities.as_ref()) else {
            return Ok(RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            });
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file, pem)? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }
}

impl Contents {
    pub(super) fn digest(&self) -> ContentsDigest {
        let mut digest = Sha256::new();
        for part in [&self.authorities, &self.chain, &self.key] {
            let part = part.as_deref().unwrap_or_default();
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// A configuration that trusts no server, for a client that must not use TLS.
///
/// # Errors
/// The provider does not support the default protocol versions.
pub(crate) fn trust_nobody() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// The file that a field of a DestinationRule names. `system` is Istio's word for the public
/// authorities.
pub(super) fn named_file(field: Option<&String>) -> Option<&str> {
    field
        .map(String::as_str)
        .filter(|file| !file.is_empty() && *file != "system")
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}
