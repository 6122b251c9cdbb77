//! Endpoints outside this process, over pooled HTTP/1.1.

use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Version, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use wasmtime_wasi_http::Error;

use crate::{Body, Request, Response};

/// How long an unused connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// How long a connection may take to be made: Istio's default.
const CONNECT: Duration = Duration::from_secs(10);

/// Unused connections kept for one host.
const IDLE_MAX_PER_HOST: usize = 64;

/// Why a remote endpoint gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection ended without a response")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Keeps connections to remote endpoints.
#[derive(Clone)]
pub(crate) struct RemoteClient {
    client: Client<HttpConnector, Body>,
}

impl Default for RemoteClient {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX_PER_HOST)
            .build(connector);
        Self { client }
    }
}

impl RemoteClient {
    /// Sends `request` to `host:port`; its own authority stays in `host`.
    ///
    /// # Errors
    /// No connection, or none that lasted until the response head.
    pub(crate) async fn send(
        &self,
        host: &str,
        port: u16,
        mut request: Request,
    ) -> Result<Response, RemoteError> {
        let unreachable = |error: http::Error| RemoteError::Connect(error.into());
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let authority = Authority::try_from(format!("{bracketed}:{port}"))
            .map_err(|error| unreachable(error.into()))?;
        if let Some(asked) = request
            .uri()
            .authority()
            .map(|authority| authority.as_str().to_owned())
            && let Ok(value) = asked.parse()
        {
            request.headers_mut().insert(header::HOST, value);
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(unreachable)?;
        *request.version_mut() = Version::HTTP_11;
        let response = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                RemoteError::Connect(error.into())
            } else {
                RemoteError::Request(error.into())
            }
        })?;
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }
}
