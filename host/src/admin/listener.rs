//! The admin port: its TLS, and who answers on it. Its connections are served, and
//! bounded, as those of every other listener.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::access::Guard;
use super::identity::{Identity, IdentityError};
use super::{Api, Sources};
use crate::listen::{Handler, RequestBody, Room, Server};
use crate::settings::listen::ClientTimeouts;

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("cannot bind the admin port {address}; choose another with --admin")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "cannot use the admin port's identity in the data folder; remove its folder `admin` to create a new one"
    )]
    Identity(#[from] IdentityError),
    #[error(
        "cannot read the admin port's certificate; remove the folder `admin` in the data folder to create a new one"
    )]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error(
        "cannot use the admin port's certificate; remove the folder `admin` in the data folder to create a new one"
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

#[derive(Clone)]
struct Serving(Arc<Parts>);

struct Parts {
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
    pub(crate) async fn serve(
        self,
        sources: Sources,
        room: Arc<Room>,
        timeouts: ClientTimeouts,
        stop: CancellationToken,
    ) {
        let serving = Serving(Arc::new(Parts {
            guard: self.guard,
            api: Api::new(sources),
        }));
        Server::new("the admin port".into(), &room, serving, timeouts, stop)
            .tls(self.tls)
            .accept(self.socket)
            .await;
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

impl Handler for Serving {
    type Client = SocketAddr;
    type Body = Body;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<RequestBody>,
        _: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let Parts { guard, api } = &*self.0;
        let answer = match guard.admit(&parts) {
            Ok(access) => api.answer(&parts, Body::new(body), access).await,
            Err(failure) => Err(failure),
        };
        Ok(answer.unwrap_or_else(|failure| failure.response()))
    }
}
