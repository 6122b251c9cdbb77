//! The admin port: its certificate, and what answers its requests. Connections are served and
//! limited like those of every other listener.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::access::Guard;
use super::audit::Audit;
use super::identity::{Identity, IdentityError};
use super::{Api, Sources};
use crate::body::RequestBody;
use crate::listen::{Handler, Room, Server};
use crate::settings::listen::ClientTimeouts;
use crate::tls::{Acceptor, ServerTlsError};

/// Why the admin port cannot be opened.
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
        "cannot use the admin port's certificate; remove the folder `admin` in the data folder to create a new one"
    )]
    Tls(#[from] ServerTlsError),
}

/// The bound admin port.
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) address: SocketAddr,
    tls: Acceptor,
    guard: Guard,
    certificate: String,
}

#[derive(Clone)]
struct Serving(Arc<Parts>);

struct Parts {
    guard: Guard,
    api: Api,
    audit: Option<Arc<Audit>>,
}

impl Listener {
    /// Binds `address` with the identity in the data folder.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub(crate) async fn bind(address: SocketAddr, data: &Path) -> Result<Self, AdminError> {
        let identity = Identity::of(data)?;
        let tls = Acceptor::new(&identity.certificate, &identity.key)?;
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

    /// The certificate of the port, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves until `stop`, which also ends all watches. Requests are logged to `audit`.
    pub(crate) async fn serve(
        self,
        sources: Sources,
        audit: Option<Arc<Audit>>,
        room: Arc<Room>,
        timeouts: ClientTimeouts,
        stop: CancellationToken,
    ) {
        let serving = Serving(Arc::new(Parts {
            guard: self.guard,
            api: Api::new(sources),
            audit,
        }));
        Server::new("the admin port".into(), &room, serving, timeouts, stop)
            .tls(self.tls)
            .accept(self.socket)
            .await;
    }
}

impl Handler for Serving {
    type Client = SocketAddr;
    type Body = Body;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<RequestBody>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let Parts { guard, api, audit } = &*self.0;
        let access = match guard.admit(&parts) {
            Ok(access) => access,
            Err(failure) => {
                if let Some(audit) = audit {
                    audit.refused(&parts, client.ip(), &failure);
                }
                return Ok(failure.response());
            }
        };
        let body = Body::new(body);
        let entry = audit.as_ref();
        let entry = entry.and_then(|audit| audit.begin(&parts, client.ip(), access));
        let Some(mut entry) = entry else {
            let answer = api.answer(&parts, body, access).await;
            return Ok(answer.unwrap_or_else(|failure| failure.response()));
        };
        let answer = match entry.request(&parts, body).await {
            Ok(body) => api.answer(&parts, body, access).await,
            Err(failure) => Err(failure),
        };
        let response = answer.unwrap_or_else(|failure| failure.response());
        Ok(entry.respond(response).await)
    }
}
