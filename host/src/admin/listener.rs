//! The admin port: TLS, connections and their limits.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::access::Guard;
use super::identity::{Identity, IdentityError};
use super::{Api, Sources};

/// Connections at once; more wait. kubectl opens one, a watcher keeps one.
const CONNECTIONS_MAX: usize = 1_000;

/// How long the handshake and the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head: long selectors fit.
const HEAD_MAX: usize = 64 << 10;

/// Requests that one HTTP/2 connection may have under way, watches among them.
const STREAMS_MAX: u32 = 250;

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("cannot bind the admin port {address}; choose another with --admin")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "the admin port's identity in the data folder cannot be used; remove the folder `admin` in it for a new one"
    )]
    Identity(#[from] IdentityError),
    #[error(
        "the admin port's certificate cannot be read; remove the folder `admin` in the data folder for a new one"
    )]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error(
        "the admin port's certificate cannot be used; remove the folder `admin` in the data folder for a new one"
    )]
    Tls(#[from] rustls::Error),
}

/// The admin port, bound.
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) address: SocketAddr,
    tls: TlsAcceptor,
    guard: Guard,
    certificate: String,
}

struct Serving {
    guard: Guard,
    api: Api,
}

impl Listener {
    /// Binds `address` with the identity in the data folder.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub(crate) async fn bind(address: SocketAddr, data: &Path) -> Result<Self, AdminError> {
        let identity = Identity::of(data)?;
        let tls = TlsAcceptor::from(Arc::new(server_config(&identity)?));
        let failed = |source| AdminError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Identity::note_address(data, address)?;
        Ok(Self {
            socket,
            address,
            tls,
            guard: Guard::new(&identity),
            certificate: identity.certificate,
        })
    }

    /// The certificate that it shows, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves until `stop`; watches end with it.
    pub(crate) async fn serve(self, sources: Sources, stop: CancellationToken) {
        let serving = Arc::new(Serving {
            guard: self.guard,
            api: Api::new(sources),
        });
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the admin port could not be accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let (tls, serving, stop) = (self.tls.clone(), serving.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = connection(tls, stream, serving) => {}
                    () = stop.cancelled() => {}
                }
                drop(slot);
            });
        }
    }
}

fn server_config(identity: &Identity) -> Result<ServerConfig, AdminError> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn connection(tls: TlsAcceptor, stream: TcpStream, serving: Arc<Serving>) {
    // Small answers are not held back for more; a failure only costs that.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await else {
        return;
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX);
    let service = service_fn(move |request| {
        let serving = serving.clone();
        async move { Ok::<_, Infallible>(serving.answer(request).await) }
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the admin port ended badly");
    }
}

impl Serving {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let answer = match self.guard.admit(&parts) {
            Ok(access) => self.api.answer(&parts, Body::new(body), access).await,
            Err(failure) => Err(failure),
        };
        answer.unwrap_or_else(|failure| failure.response())
    }
}
