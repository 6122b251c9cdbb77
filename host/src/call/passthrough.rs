//! Connections that the gateway passes through without decrypting them: who may open one, its
//! server, and its report.
//!
//! Their destination is the server itself. A pod is a component, which has no sockets, so a
//! connection to one fails as it would to a closed port.

mod flow;
mod report;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_manifest::model::ClientTlsMode;
use galleria_mesh as mesh;
use galleria_mesh::inbound::authorization::decide_connection;
use galleria_mesh::{
    CallerKey, Cluster, LocalReply, Outcome, PickContext, PickedEndpoint, RefusedAddress,
    RequestPermit, ResponseFlags,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::flow::{Ended, Flow};
use self::report::Report;
use super::{CONNECT_TIMEOUT, Mesh};
use crate::active_config::ActiveConfig;
use crate::causes::with_causes;
use crate::remote::RemoteError;

/// How long a connection may carry nothing: Envoy's default.
const IDLE_MAX: Duration = Duration::from_secs(3_600);

/// What is known of a connection.
pub(crate) struct PassedThrough {
    /// Of the listener, as declared.
    pub port: u16,
    pub client: Option<IpAddr>,
    /// The name that the client has requested (SNI).
    pub server_name: Option<Arc<str>>,
}

/// Why a connection is closed.
struct Refusal {
    flags: ResponseFlags,
    /// The policy that refuses it.
    denied: Option<String>,
    /// Why there is no connection to the server.
    failure: Option<String>,
}

/// A connection to a server. It counts as active at its endpoint and its cluster.
struct Upstream {
    stream: TcpStream,
    _picked: PickedEndpoint,
    _permit: RequestPermit,
}

impl Mesh {
    /// Passes `client` on to its server until both have ended. Every connection has one line in
    /// the access log and one count in the metrics.
    pub(crate) async fn pass_through<S>(self: &Arc<Self>, connection: PassedThrough, client: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let flow = Arc::new(Flow::new());
        let mut report = Report::new(self.clone(), connection, flow.clone());
        let upstream = match self.open(&mut report).await {
            Ok(upstream) => upstream,
            Err(refusal) => return report.refused(refusal),
        };
        report.connected();
        let copying = flow.copy(client, upstream.stream, IDLE_MAX, || report.progress());
        if copying.await == Ended::Idle {
            report.idle();
        }
    }

    async fn open(&self, report: &mut Report) -> Result<Upstream, Refusal> {
        let live = self.current.load();
        let connection = &report.connection;
        self.admit_connection(&live, connection).await?;
        let server_name = connection.server_name.clone();
        let name = server_name.as_deref();
        let cluster = live
            .snapshot
            .pass_through(connection.port, name, &mut rand::rng())?;
        report.routed(&live, &cluster);
        if let Some(tls) = &cluster.tls
            && tls.mode != ClientTlsMode::Disable
        {
            // The bytes are encrypted for the server already.
            let why =
                "tls of the DestinationRule cannot apply to a connection that is not decrypted";
            return Err(Refusal::unreachable(why));
        }
        let admission = cluster.acquire(CallerKey::EDGE)?;
        let permit = timeout(cluster.connect_timeout, admission).await;
        let permit = permit.map_err(|_| LocalReply::overflow())?;
        let context = PickContext {
            caller: CallerKey::EDGE,
            now: Instant::now(),
            hash: None,
            tried: &[],
        };
        let picked = cluster.pick(&context, &mut rand::rng())?;
        report.endpoint = Some(picked.endpoint.clone());
        let stream = self.reach(&live, &cluster, &picked, name).await?;
        Ok(Upstream {
            stream,
            _picked: picked,
            _permit: permit,
        })
    }

    /// The policies for the gateway's connections.
    async fn admit_connection(
        &self,
        live: &ActiveConfig,
        connection: &PassedThrough,
    ) -> Result<(), Refusal> {
        let snapshot = &live.snapshot;
        let port = connection.port;
        let network = snapshot.gateway_network_policies();
        if let Some(client) = connection.client
            && let Err(denial) = network.client(client, port)
        {
            let reply = self.network_denials.deny(*denial, CONNECT_TIMEOUT).await;
            return Err(Refusal::denied(reply));
        }
        let name = connection.server_name.as_deref();
        let Some(policies) = snapshot.gateway_policies(port, name.unwrap_or_default()) else {
            return Ok(());
        };
        let gateway = snapshot.gateway_workload();
        decide_connection(policies, gateway, port, connection.client, name).map_err(Refusal::denied)
    }

    async fn reach(
        &self,
        live: &ActiveConfig,
        cluster: &Cluster,
        picked: &PickedEndpoint,
        server_name: Option<&str>,
    ) -> Result<TcpStream, Refusal> {
        let endpoint = &picked.endpoint;
        let Some((host, port)) = cluster.server_of(endpoint, server_name) else {
            return Err(Refusal::unreachable("the endpoint has no socket"));
        };
        let policies = live.snapshot.gateway_network_policies();
        let addresses = cluster.address_rules(endpoint, host, port, policies);
        let connected = self.remote.connect(cluster, (host, port), &addresses).await;
        let (error, outcome) = match connected {
            Ok(stream) => return Ok(stream),
            Err(RemoteError::Address(RefusedAddress::NotPublic(address))) => {
                return Err(Refusal::denied(LocalReply::private_address(host, address)));
            }
            Err(RemoteError::Address(RefusedAddress::NetworkPolicy)) => {
                if let Some(denial) = policies.egress_denial(host, port) {
                    let deny = self.network_denials.deny(*denial, cluster.connect_timeout);
                    return Err(Refusal::denied(deny.await));
                }
                return Err(Refusal::unreachable("no NetworkPolicy allows its address"));
            }
            Err(error) => (error, Outcome::failure(mesh::Failure::ConnectFailure)),
        };
        picked.record(&outcome, Instant::now());
        Err(Refusal::unreachable(&with_causes(&error)))
    }
}

impl Refusal {
    /// By a policy.
    fn denied(reply: LocalReply) -> Self {
        Self {
            flags: reply.flags,
            denied: Some(reply.details.into_owned()),
            failure: None,
        }
    }

    /// As in Envoy, no other endpoint is tried.
    fn unreachable(why: &str) -> Self {
        Self {
            flags: ResponseFlags::UF | ResponseFlags::URX,
            denied: None,
            failure: Some(why.to_owned()),
        }
    }
}

/// There is no route, no cluster, or no room at the cluster.
impl From<LocalReply> for Refusal {
    fn from(reply: LocalReply) -> Self {
        Self {
            flags: reply.flags,
            denied: None,
            failure: None,
        }
    }
}
