//! Endpoints outside this process, over pooled connections: HTTP/1.1, or HTTP/2 if the
//! service's port speaks it; TLS if a DestinationRule or the request's own scheme asks for it.
//!
//! Callers share a connection only if everything that decides how it is made is the same (see
//! [`PoolKey`]), in particular the TLS settings and, between hosts of the mesh, the identity
//! of the caller.

mod connector;
mod http2;
mod opaque;
mod peer;
mod resolver;

pub(crate) use self::http2::{HTTP2_HEAD_MAX, PEER_CONNECTION_WINDOW, PEER_STREAMS_MAX};
pub(crate) use self::peer::{MutualTls, PeerTransport};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::model::{ClientTls, ClientTlsMode, Protocol};
use galleria_mesh::{AddressRules, Cluster, RefusedAddress};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Version, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::watch;
use wasmtime_wasi_http::Error;

use self::connector::Connector;
use self::http2::Http2Connections;
use crate::identity::Identities;
use crate::tls::{ClientConfigs, ClientTlsConfig, LoadedConfig, TlsError};
use crate::{Body, Request, Response};

/// The longest time for which an idle connection is kept. A DestinationRule cannot extend
/// it, because servers and middleboxes drop idle connections.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Idle connections per endpoint.
const IDLE_MAX_PER_HOST: usize = 64;

/// Pools. There is one for each cluster of the manifests, and one for each host that a guest
/// reaches over `https` without a DestinationRule. When the limit is reached, all are dropped.
const POOLS_MAX: usize = 1_024;

/// Why a remote endpoint gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the endpoint did not accept the request")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection ended without a response")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the endpoint must not be used")]
    Address(#[source] RefusedAddress),
    #[error("cannot use the tls settings of the DestinationRule")]
    Tls(#[from] TlsError),
}

/// The address of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RemoteTarget<'a> {
    /// A pod on another host of the mesh. Hosts speak HTTP/2 to each other.
    Peer {
        host: &'a str,
        port: u16,
        transport: &'a PeerTransport<'a>,
    },
    /// A server that is not part of the mesh.
    Outside {
        host: &'a str,
        port: u16,
        addresses: &'a AddressRules,
    },
}

/// Sends requests to remote endpoints.
#[derive(Clone)]
pub(crate) struct RemoteClient {
    pools: Arc<Mutex<HashMap<PoolKey, Pool>>>,
    tls: ClientConfigs,
    identities: Arc<Identities>,
    /// Changes with the authorities of the mesh.
    authorities: watch::Receiver<u64>,
}

/// The connections of one key.
#[derive(Clone)]
struct Pool {
    connections: Connections,
    currency: Currency,
}

/// Which change begins a new pool.
#[derive(Clone)]
enum Currency {
    PlainText,
    /// Of the certificate files.
    Files(LoadedConfig),
    /// Of the authorities of the mesh, from this state.
    Authorities(u64),
}

/// Everything that decides how a connection is made, besides its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    /// Callers with different rules must not share connections.
    addresses: AddressRules,
    security: Security,
    http2: bool,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Security {
    PlainText,
    Tls(ClientTlsConfig),
    Mutual(MutualTls),
}

#[derive(Clone)]
enum Connections {
    Http1(Arc<Client<Connector, Body>>),
    Http2(Http2Connections),
}

impl RemoteClient {
    /// Calls other hosts of the mesh with the certificates of `identities`.
    pub(crate) fn new(identities: Arc<Identities>) -> Self {
        Self {
            pools: Arc::default(),
            tls: ClientConfigs::default(),
            authorities: identities.changes(),
            identities,
        }
    }

    /// Sends `request` to an endpoint of `cluster`. `host` or `:authority` remains the authority
    /// that the caller requested.
    ///
    /// # Errors
    /// There is no connection, or it ended before the head of the response.
    pub(crate) async fn send(
        &self,
        cluster: &Cluster,
        target: RemoteTarget<'_>,
        request: Request,
    ) -> Result<Response, RemoteError> {
        let (endpoint, key) = match target {
            RemoteTarget::Peer {
                host,
                port,
                transport,
            } => {
                let endpoint = authority(host, port)?;
                (endpoint, PoolKey::of_peer(cluster, transport))
            }
            RemoteTarget::Outside {
                host,
                port,
                addresses,
            } => {
                addresses.check_host(host).map_err(RemoteError::Address)?;
                let key = PoolKey::of(cluster, &request, host, addresses);
                (authority(host, port)?, key)
            }
        };
        let scheme = match key.security {
            Security::PlainText => Scheme::HTTP,
            Security::Tls(_) | Security::Mutual(_) => Scheme::HTTPS,
        };
        match self.connections(key).await? {
            Connections::Http1(client) => {
                let request = to_endpoint(request, scheme, endpoint)?;
                let response = client.request(request).await.map_err(|error| {
                    if error.is_connect() {
                        not_connected(error.into())
                    } else {
                        RemoteError::Request(error.into())
                    }
                })?;
                Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
            }
            Connections::Http2(shared) => {
                let request = with_requested_authority(request, scheme.clone(), &endpoint)?;
                shared.send(scheme, endpoint, request).await
            }
        }
    }

    async fn connections(&self, key: PoolKey) -> Result<Connections, RemoteError> {
        if let Some(connections) = self.pooled(&key) {
            return Ok(connections);
        }
        let (connector, currency) = match &key.security {
            Security::PlainText => (Connector::plain_text(&key)?, Currency::PlainText),
            Security::Tls(tls) => {
                let loaded = self.tls.load(tls).await?;
                (Connector::tls(&key, &loaded), Currency::Files(loaded))
            }
            Security::Mutual(mutual) => {
                if !self.identities.is_shared() {
                    return Err(TlsError::NoSharedAuthority.into());
                }
                let current = Currency::Authorities(*self.authorities.borrow());
                let identities = self.identities.clone();
                (Connector::mutual(&key, mutual.clone(), identities), current)
            }
        };
        let connections = if key.http2 {
            Connections::Http2(Http2Connections::new(connector))
        } else {
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(key.idle_timeout)
                .pool_max_idle_per_host(IDLE_MAX_PER_HOST)
                .build(connector);
            Connections::Http1(Arc::new(client))
        };
        let pool = Pool {
            connections,
            currency,
        };
        Ok(self.add(key, pool))
    }

    fn pooled(&self, key: &PoolKey) -> Option<Connections> {
        let pools = self.pools.lock();
        let pool = pools.get(key).filter(|pool| self.is_current(pool))?;
        Some(pool.connections.clone())
    }

    /// Adds a pool, unless another request has added it meanwhile.
    fn add(&self, key: PoolKey, pool: Pool) -> Connections {
        let mut pools = self.pools.lock();
        if let Some(other) = pools.get(&key).filter(|pool| self.is_current(pool)) {
            return other.connections.clone();
        }
        if pools.len() >= POOLS_MAX {
            pools.clear();
        }
        let connections = pool.connections.clone();
        pools.insert(key, pool);
        connections
    }

    fn is_current(&self, pool: &Pool) -> bool {
        match &pool.currency {
            Currency::PlainText => true,
            Currency::Files(loaded) => loaded.is_current(),
            Currency::Authorities(since) => *since == *self.authorities.borrow(),
        }
    }
}

impl fmt::Display for RemoteTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Peer { host, port, .. } | Self::Outside { host, port, .. }) = self;
        write!(f, "{host}:{port}")
    }
}

impl PoolKey {
    fn of_peer(cluster: &Cluster, transport: &PeerTransport<'_>) -> Self {
        let security = match transport {
            PeerTransport::PlainText => Security::PlainText,
            PeerTransport::Originated(tls) => Security::Tls(originated(cluster, tls, None)),
            PeerTransport::Mutual(mutual) => Security::Mutual(mutual.clone()),
        };
        Self {
            addresses: AddressRules::unrestricted(),
            security,
            http2: true,
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout.min(IDLE_MAX),
        }
    }

    fn of(cluster: &Cluster, request: &Request, endpoint: &str, addresses: &AddressRules) -> Self {
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        let requested = request.uri().host().unwrap_or(endpoint);
        let tls = cluster
            .tls
            .as_ref()
            .filter(|tls| tls.mode != ClientTlsMode::Disable);
        let security = match tls {
            Some(tls) => Security::Tls(originated(cluster, tls, Some(requested))),
            None if is_https => Security::Tls(ClientTlsConfig::public(requested)),
            None => Security::PlainText,
        };
        Self {
            addresses: addresses.clone(),
            security,
            http2: matches!(cluster.protocol, Protocol::Http2 | Protocol::Grpc),
            connect_timeout: cluster.connect_timeout,
            idle_timeout: cluster.idle_timeout.min(IDLE_MAX),
        }
    }
}

/// The settings of a DestinationRule. A wildcard is not a server name.
fn originated(cluster: &Cluster, tls: &ClientTls, requested: Option<&str>) -> ClientTlsConfig {
    let declared = Some(cluster.service_fqdn.as_str())
        .filter(|host| host.contains('.') && !host.starts_with('*'));
    let name = declared.or(requested).unwrap_or_default();
    ClientTlsConfig::originated(tls, name)
}

/// Finds out whether there is no connection because the name has no usable address.
fn not_connected(error: Box<dyn std::error::Error + Send + Sync>) -> RemoteError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(it) = cause {
        if let Some(refused) = it.downcast_ref::<RefusedAddress>() {
            return RemoteError::Address(*refused);
        }
        cause = it.source();
    }
    RemoteError::Connect(error)
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

/// HTTP/1.1: the pool finds connections by the authority of the URI, so that becomes the
/// endpoint. The requested authority is sent in `host`.
fn to_endpoint(
    mut request: Request,
    scheme: Scheme,
    endpoint: Authority,
) -> Result<Request, RemoteError> {
    if let Some(requested) = request.uri().authority()
        && let Ok(value) = HeaderValue::from_str(requested.as_str())
    {
        request.headers_mut().insert(header::HOST, value);
    }
    // It is about this connection, and HTTP/1.1 has no `connection` field for it here.
    request.headers_mut().remove(header::TE);
    *request.uri_mut() = uri(&request, scheme, endpoint)?;
    *request.version_mut() = Version::HTTP_11;
    Ok(request)
}

/// HTTP/2: the URI keeps the requested authority, which is sent as `:authority`.
fn with_requested_authority(
    mut request: Request,
    scheme: Scheme,
    endpoint: &Authority,
) -> Result<Request, RemoteError> {
    let host = request.headers_mut().remove(header::HOST);
    let requested = request.uri().authority().cloned();
    let requested = requested.or_else(|| Authority::try_from(host?.as_bytes()).ok());
    *request.uri_mut() = uri(
        &request,
        scheme,
        requested.unwrap_or_else(|| endpoint.clone()),
    )?;
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
