//! Opens connections: TCP and TLS, with one timeout for both.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolver::Resolver;
use super::{PoolKey, RemoteError};
use crate::tls::{LoadedConfig, trust_nobody};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects to the host and port of a URI, with TLS if the scheme is `https`.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector<Resolver>>,
    /// `connectionPool.tcp.connectTimeout`.
    timeout: Duration,
}

impl Connector {
    /// A connector with the settings of `key`; `tls` is the configuration of its TLS settings,
    /// if it has any.
    ///
    /// # Errors
    /// TLS is not available.
    pub(super) fn new(key: &PoolKey, tls: Option<&LoadedConfig>) -> Result<Self, RemoteError> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(&key.addresses));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = match tls {
            // Not used: the scheme is `http`.
            None => builder.with_tls_config(trust_nobody()?).https_or_http(),
            Some(tls) => builder
                .with_tls_config(tls.config().clone())
                .https_only()
                .with_server_name_resolver(FixedServerNameResolver::new(tls.server_name())),
        };
        let inner = if key.http2 {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.enable_http1().wrap_connector(tcp)
        };
        Ok(Self {
            inner,
            timeout: key.connect_timeout,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.timeout;
        async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {limit:?}"),
                )
                .into()),
            }
        }
        .boxed()
    }
}
