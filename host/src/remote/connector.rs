//! Opens connections: TCP and TLS, with one timeout for both.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use http::Uri;
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolver::Resolver;
use super::{MutualTls, PoolKey, RemoteError};
use crate::identity::Identities;
use crate::tls::{LoadedConfig, TlsError, trust_nobody, workload_client};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects to the host and port of a URI, with TLS if the scheme is `https`.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Inner,
    /// `connectionPool.tcp.connectTimeout`.
    timeout: Duration,
}

#[derive(Clone)]
enum Inner {
    Fixed(HttpsConnector<Tcp>),
    Mutual(Mutual),
}

/// Each connection presents the certificate that is current when it begins.
#[derive(Clone)]
struct Mutual {
    tcp: Tcp,
    ends: MutualTls,
    identities: Arc<Identities>,
}

type Tcp = HttpConnector<Resolver>;

impl Connector {
    /// Without TLS.
    ///
    /// # Errors
    /// TLS is not available.
    pub(super) fn plain_text(key: &PoolKey) -> Result<Self, RemoteError> {
        let builder = HttpsConnectorBuilder::new();
        // The configuration is not used: the scheme is `http`.
        let builder = builder.with_tls_config(trust_nobody()?).https_or_http();
        Ok(Self::of(key, |tcp| match key.http2 {
            true => builder.enable_http2().wrap_connector(tcp),
            false => builder.enable_http1().wrap_connector(tcp),
        }))
    }

    /// With the configuration `tls`.
    pub(super) fn tls(key: &PoolKey, tls: &LoadedConfig) -> Self {
        let builder = HttpsConnectorBuilder::new();
        let builder = builder
            .with_tls_config(tls.config().clone())
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(tls.server_name()));
        Self::of(key, |tcp| match key.http2 {
            true => builder.enable_http2().wrap_connector(tcp),
            false => builder.enable_http1().wrap_connector(tcp),
        })
    }

    /// With mutual TLS between `ends`.
    pub(super) fn mutual(key: &PoolKey, ends: MutualTls, identities: Arc<Identities>) -> Self {
        let tcp = tcp(key);
        Self {
            inner: Inner::Mutual(Mutual {
                tcp,
                ends,
                identities,
            }),
            timeout: key.connect_timeout,
        }
    }

    fn of(key: &PoolKey, wrap: impl FnOnce(Tcp) -> HttpsConnector<Tcp>) -> Self {
        Self {
            inner: Inner::Fixed(wrap(tcp(key))),
            timeout: key.connect_timeout,
        }
    }
}

fn tcp(key: &PoolKey) -> Tcp {
    let mut tcp = HttpConnector::new_with_resolver(Resolver::new(&key.addresses));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp
}

impl Mutual {
    fn connector(&self) -> Result<HttpsConnector<Tcp>, TlsError> {
        let MutualTls {
            caller,
            server_names,
            server,
        } = &self.ends;
        let certificate = self.identities.certificate(caller);
        let certificate = certificate.map_err(|error| TlsError::Certificate(error.into()))?;
        let roots = self.identities.roots();
        let (config, name) = workload_client(certificate, roots, server_names.clone(), server)?;
        let name = Arc::new(FixedServerNameResolver::new(name));
        Ok(HttpsConnector::new(self.tcp.clone(), config, true, name))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.inner {
            Inner::Fixed(inner) => inner.poll_ready(context),
            Inner::Mutual(inner) => inner.tcp.poll_ready(context).map_err(BoxError::from),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = match &mut self.inner {
            Inner::Fixed(inner) => inner.call(uri),
            Inner::Mutual(inner) => match inner.connector() {
                Ok(mut connector) => connector.call(uri),
                Err(error) => return ready(Err(error.into())).boxed(),
            },
        };
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
