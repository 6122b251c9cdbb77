//! HTTP/2: one connection to each endpoint, shared by all requests to it.
//!
//! `hyper_util::client::pool` is not used. Its `singleton` would only replace the slot of an
//! endpoint, and it panics in a waiting request if a request that holds the previous, closed
//! connection discards the slot while a new connection is being opened.

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
use super::{RemoteError, not_connected, unreachable};
use crate::{Body, Request, Response};

/// Concurrent streams of a connection between two hosts. It carries the requests of many
/// clients: slow ones must not keep the others from opening a stream.
pub(crate) const PEER_STREAMS_MAX: u32 = 1_000;

/// Bytes that a stream may receive before they are read.
const STREAM_WINDOW: u32 = 64 << 10;

/// Bytes that all streams of a connection between two hosts may receive: enough for the
/// window of every stream, so that a stream that is not read does not delay the others.
pub(crate) const PEER_CONNECTION_WINDOW: u32 = PEER_STREAMS_MAX * STREAM_WINDOW;

/// Bytes of the fields of one head, in both directions. What a guest may send fits
/// (`FIELDS_BYTES_MAX` of `guest/limits.rs`), with the fields that hosts add.
pub(crate) const HTTP2_HEAD_MAX: u32 = 256 << 10;

/// The interval of PINGs, which detect a connection that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Endpoints that have a connection. When the limit is reached, all are dropped.
const ENDPOINTS_MAX: usize = 1_024;

/// The connections, by endpoint.
#[derive(Clone)]
pub(super) struct Http2Connections {
    connector: Connector,
    endpoints: Arc<Mutex<HashMap<Authority, Slot>>>,
}

/// Locked while a connection is being opened, so that concurrent requests open only one.
type Slot = Arc<tokio::sync::Mutex<Option<SendRequest<Body>>>>;

impl Http2Connections {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            endpoints: Arc::default(),
        }
    }

    /// Sends `request` to `endpoint`. The authority of its URI is sent as `:authority`.
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
        let mut current = slot.lock().await;
        if let Some(sender) = current.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self.connect(scheme, endpoint).await?;
        *current = Some(sender.clone());
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
        let stream = connector.call(uri).await.map_err(not_connected)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_header_list_size(HTTP2_HEAD_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(PEER_CONNECTION_WINDOW)
            .handshake(stream)
            .await
            .map_err(|error| RemoteError::Connect(error.into()))?;
        tokio::spawn(async move {
            // Its requests fail with it, and the next request opens another connection.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a remote endpoint ended");
            }
        });
        Ok(sender)
    }
}

/// An endpoint that closes the connection reports which requests it has not begun. These may be
/// sent to another endpoint, even if they are not idempotent.
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
