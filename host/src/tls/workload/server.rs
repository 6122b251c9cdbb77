//! The server's end: what a workload presents, and what its callers prove.

use std::io;
use std::sync::Arc;

use galleria_mesh::inbound::SpiffeId;
use http::HeaderValue;
use rustls::crypto::ring;
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::refusal::NoIdentity;
use super::spiffe_id;
use crate::tls::gateway::certificate::{CertificateParts, described};
use crate::tls::{Alpn, TlsError};

/// A workload that accepts mutual TLS.
pub(crate) struct WorkloadServer {
    id: SpiffeId,
    config: ServerConfig,
}

/// What the connection of a caller has proven, for its requests.
#[derive(Debug, Clone)]
pub(crate) struct PeerSession {
    /// The service account of the caller. None if it has presented no certificate, which only
    /// a server that is not strict accepts.
    pub id: Option<SpiffeId>,
    /// Its certificate as an element of `x-forwarded-client-cert`.
    pub forwarded: Option<HeaderValue>,
}

/// A connection after its handshake.
pub(crate) struct Accepted<S> {
    pub stream: TlsStream<S>,
    /// If the client has selected a version.
    pub alpn: Option<Alpn>,
    pub session: PeerSession,
}

impl WorkloadServer {
    /// Presents `certificate` as `id`, and accepts the clients of `roots`. Others are accepted,
    /// without identity, unless `is_strict`.
    ///
    /// # Errors
    /// The roots or the certificate cannot be used.
    pub(crate) fn new(
        id: SpiffeId,
        certificate: Arc<CertifiedKey>,
        roots: Arc<RootCertStore>,
        is_strict: bool,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let clients = match is_strict {
            true => clients,
            false => clients.allow_unauthenticated(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(clients.build()?)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        config.alpn_protocols = Alpn::offered();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { id, config })
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// It failed, for instance since the client's certificate is not trusted.
    pub(crate) async fn accept<S>(mut self, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let offered = start.client_hello().alpn();
        if offered.is_some_and(|mut offered| !offered.any(Alpn::is_supported)) {
            // A sidecar that offers nothing but `istio`: its first bytes show the version.
            self.config.alpn_protocols.clear();
        }
        let stream = start.into_stream(Arc::new(self.config)).await?;
        let (_, connection) = stream.get_ref();
        let alpn = Alpn::of(connection.alpn_protocol());
        let session = match connection.peer_certificates().and_then(<[_]>::first) {
            None => PeerSession {
                id: None,
                forwarded: None,
            },
            Some(presented) => {
                let id = CertificateParts::of(presented).and_then(|it| spiffe_id(&it));
                let id = id.filter(|id| id.trust_domain() == self.id.trust_domain());
                let id = id.ok_or_else(|| io::Error::other(NoIdentity(super::owner(presented))))?;
                PeerSession {
                    id: Some(id),
                    forwarded: described(presented, &[self.id.to_string()]),
                }
            }
        };
        Ok(Accepted {
            stream,
            alpn,
            session,
        })
    }
}
