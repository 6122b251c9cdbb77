//! Endpoints outside this process, over cached connections: HTTP/1.1, and HTTP/2
//! where the service's port speaks it; TLS where a DestinationRule asks for it
//! or the request itself is for `https`.
//!
//! Connections are shared by everything that decides how they are made (see [`PoolKey`]),
//! never across different TLS settings.

mod connector;
mod http2;
mod tls;

pub(crate) use self::http2::{PEER_CONNECTION_WINDOW, PEER_STREAMS_MAX};
pub(crate) use self::tls::{ClientTlsConfig, TlsError};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use galleria_manifest::model::{ClientTlsMode, Protocol};
use galleria_mesh::Cluster;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Version, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use wasmtime_wasi_http::Error;

use self::connector::Connector;
use self::http2::Shared;
use crate::{Body, Request, Response};

/// How long an unused connection is cached at most, whatever a DestinationRule
/// says: what is outside may forget it sooner.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Unused connections cached for one host.
const IDLE_MAX_PER_HOST: usize = 64;

/// Pools that are cached. Each is one of a manifest's clusters, or one host that
/// a guest reaches over TLS by itself; past this all begin anew.
const MANNERS_MAX: usize = 1_024;

/// How often the files of certificates are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a remote endpoint gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the endpoint did not accept the request")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection ended without a response")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot use the tls settings of the DestinationRule")]
    Tls(#[from] TlsError),
}

/// Where an endpoint is, and what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RemoteTarget<'a> {
    /// A pod of another host of the mesh, which speaks HTTP/2.
    Peer { host: &'a str, port: u16 },
    /// Something that is not of the mesh.
    Outside { host: &'a str, port: u16 },
}

/// Keeps connections to remote endpoints.
#[derive(Clone, Default)]
pub(crate) struct RemoteClient {
    pools: Arc<Mutex<HashMap<PoolKey, CachedPool>>>,
}

/// The connections of one key, and the certificates that they were made
/// with: changed files make new ones.
#[derive(Clone)]
struct CachedPool {
    pool: HttpPool,
    stamps: Vec<Option<SystemTime>>,
    looked: Instant,
}

/// Everything that decides how a connection is made, besides its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    /// None is plain text.
    trust: Option<ClientTlsConfig>,
    http2: bool,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// The connections of one key.
#[derive(Clone)]
enum HttpPool {
    Http1(Arc<Client<Connector, Body>>),
    Http2(Shared),
}

impl RemoteClient {
    /// Sends `request` to one of the endpoints of `cluster`; the
    /// authority that was asked for stays in `host` or `:authority`.
    ///
    /// # Errors
    /// No connection, or none that lasted until the response head.
    pub(crate) async fn send(
        &self,
        cluster: &Cluster,
        target: RemoteTarget<'_>,
        request: Request,
    ) -> Result<Response, RemoteError> {
        let (endpoint, key) = match target {
            RemoteTarget::Peer { host, port } => {
                (authority(host, port)?, PoolKey::of_peer(cluster))
            }
            RemoteTarget::Outside { host, port } => {
                (authority(host, port)?, PoolKey::of(cluster, &request, host))
            }
        };
        let scheme = match key.trust {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        match self.pool(key).await? {
            HttpPool::Http1(client) => {
                let request = to_endpoint(request, scheme, endpoint)?;
                let response = client.request(request).await.map_err(|error| {
                    if error.is_connect() {
                        RemoteError::Connect(error.into())
                    } else {
                        RemoteError::Request(error.into())
                    }
                })?;
                Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
            }
            HttpPool::Http2(shared) => {
                let request = as_asked(request, scheme.clone(), &endpoint)?;
                shared.send(scheme, endpoint, request).await
            }
        }
    }

    async fn pool(&self, key: PoolKey) -> Result<HttpPool, RemoteError> {
        if let Some(cached) = self.cached(&key) {
            return Ok(cached);
        }
        let stamps = key.stamps();
        let connector = Connector::new(&key).await?;
        let begun = if key.http2 {
            HttpPool::Http2(Shared::new(connector))
        } else {
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(key.idle_timeout)
                .pool_max_idle_per_host(IDLE_MAX_PER_HOST)
                .build(connector);
            HttpPool::Http1(Arc::new(client))
        };
        let mut pools = self.lock();
        if pools.len() >= MANNERS_MAX {
            pools.clear();
        }
        let cached = CachedPool {
            pool: begun.clone(),
            stamps,
            looked: Instant::now(),
        };
        pools.insert(key, cached);
        Ok(begun)
    }

    /// What is there already, as long as its certificates are those in the files.
    fn cached(&self, key: &PoolKey) -> Option<HttpPool> {
        let mut pools = self.lock();
        let cached = pools.get_mut(key)?;
        if cached.looked.elapsed() >= LOOK_AGAIN {
            cached.looked = Instant::now();
            if cached.stamps != key.stamps() {
                pools.remove(key);
                return None;
            }
        }
        Some(cached.pool.clone())
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<PoolKey, CachedPool>> {
        self.pools.lock()
    }
}

impl fmt::Display for RemoteTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Peer { host, port } | Self::Outside { host, port }) = self;
        write!(f, "{host}:{port}")
    }
}

impl PoolKey {
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        self.trust
            .as_ref()
            .map(ClientTlsConfig::stamps)
            .unwrap_or_default()
    }

    /// Between hosts of the mesh `trafficPolicy.tls` has no part: it is about
    /// what is outside.
    fn of_peer(cluster: &Cluster) -> Self {
        Self {
            trust: None,
            http2: true,
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout.min(IDLE_MAX),
        }
    }

    fn of(cluster: &Cluster, request: &Request, endpoint: &str) -> Self {
        let own = request.uri().scheme() == Some(&Scheme::HTTPS);
        let asked = request.uri().host().unwrap_or(endpoint);
        let originated = cluster
            .tls
            .as_ref()
            .filter(|tls| tls.mode != ClientTlsMode::Disable);
        let trust = match originated {
            Some(tls) => {
                // No certificate can be for a wildcard name.
                let declared = Some(cluster.service_fqdn.as_str())
                    .filter(|host| host.contains('.') && !host.starts_with('*'));
                Some(ClientTlsConfig::originated(tls, declared.unwrap_or(asked)))
            }
            None => own.then(|| ClientTlsConfig::public(asked)),
        };
        Self {
            trust,
            http2: matches!(cluster.protocol, Protocol::Http2 | Protocol::Grpc),
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout.min(IDLE_MAX),
        }
    }
}

fn unreachable(error: impl Into<http::Error>) -> RemoteError {
    RemoteError::Connect(error.into().into())
}

fn authority(host: &str, port: u16) -> Result<Authority, RemoteError> {
    let text = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Authority::try_from(text).map_err(unreachable)
}

/// HTTP/1.1: connections are cached by the endpoint's address, and the authority
/// that was asked for is a header.
fn to_endpoint(
    mut request: Request,
    scheme: Scheme,
    endpoint: Authority,
) -> Result<Request, RemoteError> {
    if let Some(asked) = request.uri().authority()
        && let Ok(value) = HeaderValue::from_str(asked.as_str())
    {
        request.headers_mut().insert(header::HOST, value);
    }
    *request.uri_mut() = uri(&request, scheme, endpoint)?;
    *request.version_mut() = Version::HTTP_11;
    Ok(request)
}

/// HTTP/2: the authority that was asked for is part of the address.
fn as_asked(
    mut request: Request,
    scheme: Scheme,
    endpoint: &Authority,
) -> Result<Request, RemoteError> {
    let host = request.headers_mut().remove(header::HOST);
    let asked = request.uri().authority().cloned();
    let asked = asked.or_else(|| Authority::try_from(host?.as_bytes()).ok());
    *request.uri_mut() = uri(&request, scheme, asked.unwrap_or_else(|| endpoint.clone()))?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

fn uri(request: &Request, scheme: Scheme, authority: Authority) -> Result<Uri, RemoteError> {
    let path = request.uri().path_and_query().cloned();
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .map_err(unreachable)
}
