//! HTTP/2: one connection to each endpoint, shared by all its requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use http_body_util::BodyExt;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tower_service::Service;
use wasmtime_wasi_http::Error;

use super::connector::Connector;
use super::{RemoteError, unreachable};
use crate::listen::{HOST_CONNECTION_WINDOW, STREAM_WINDOW};
use crate::{Body, Request, Response};

/// How often a quiet connection is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Endpoints with a connection of their own; past this all are made anew.
const ENDPOINTS_MAX: usize = 1_024;

/// The connections, by endpoint.
#[derive(Clone)]
pub(super) struct Shared {
    connector: Connector,
    endpoints: Arc<Mutex<HashMap<Authority, Slot>>>,
}

/// Locked while a connection is made, so that one is made and not many.
type Slot = Arc<tokio::sync::Mutex<Option<SendRequest<Body>>>>;

impl Shared {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            endpoints: Arc::default(),
        }
    }

    /// Sends `request`, whose URI is what was asked for, to `endpoint`.
    pub(super) async fn send(
        &self,
        scheme: Scheme,
        endpoint: Authority,
        request: Request,
    ) -> Result<Response, RemoteError> {
        let mut sender = self.sender(scheme, endpoint).await?;
        let response = sender.send_request(request).await.map_err(failed)?;
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }

    async fn sender(
        &self,
        scheme: Scheme,
        endpoint: Authority,
    ) -> Result<SendRequest<Body>, RemoteError> {
        let slot = self.slot(&endpoint);
        let mut kept = slot.lock().await;
        if let Some(sender) = kept.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self.connect(scheme, endpoint).await?;
        *kept = Some(sender.clone());
        Ok(sender)
    }

    fn slot(&self, endpoint: &Authority) -> Slot {
        let mut endpoints = self.endpoints.lock();
        if endpoints.len() >= ENDPOINTS_MAX && !endpoints.contains_key(endpoint) {
            endpoints.clear();
        }
        endpoints.entry(endpoint.clone()).or_default().clone()
    }

    async fn connect(
        &self,
        scheme: Scheme,
        endpoint: Authority,
    ) -> Result<SendRequest<Body>, RemoteError> {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(endpoint)
            .path_and_query(PathAndQuery::from_static("/"))
            .build()
            .map_err(unreachable)?;
        let mut connector = self.connector.clone();
        let stream = connector.call(uri).await.map_err(RemoteError::Connect)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            // Many clients share the connection; one that does not read takes its own
            // stream's window and nothing of the others'.
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(HOST_CONNECTION_WINDOW)
            .handshake(stream)
            .await
            .map_err(|error| RemoteError::Connect(error.into()))?;
        tokio::spawn(async move {
            // Its requests fail with it, and the next one connects again.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a remote endpoint ended");
            }
        });
        Ok(sender)
    }
}

/// An endpoint that goes away says which requests it has not begun: those may be
/// sent to another, whatever they do.
fn failed(error: hyper::Error) -> RemoteError {
    let source = std::error::Error::source(&error);
    let reset = source.and_then(|source| source.downcast_ref::<h2::Error>());
    let not_begun = error.is_canceled()
        || reset.is_some_and(|reset| {
            let reason = reset.reason();
            reset.is_remote() && reason == Some(Reason::REFUSED_STREAM)
                || reset.is_go_away() && reason == Some(Reason::NO_ERROR)
        });
    if not_begun {
        RemoteError::Refused(error.into())
    } else {
        RemoteError::Request(error.into())
    }
}
