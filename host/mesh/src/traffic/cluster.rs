//! A destination: one port of one service, or of a subset of it, with the
//! policy of its DestinationRule and its endpoints.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use galleria_manifest::model::{ClientTls, HashKey, Labels, OutlierDetection, Protocol};
use rand::Rng;

use super::admit::{self, Admission, Limits, RetryPermit};
use super::balance::{Balancer, Candidates};
use super::count::Shape;
use super::eject::{self, Ejection};
use super::state::{ClientState, EndpointState, State};
use crate::{LocalReply, ObjectRef, Outcome, Workload};

/// Whom state is kept for: the edge, or one calling workload. Sidecars keep
/// breakers, ejections and counters per client; so does this mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerKey(pub(crate) u32);

/// An endpoint's number within its cluster, for [`PickContext::tried`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(crate) u32);

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A pod of this process: the index in [`crate::Location::Here`], and the port
    /// that it listens on.
    Pod { target: usize, port: u16 },
    /// A pod of another host of the mesh.
    Peer { host: String, port: u16 },
    /// Elsewhere, at this name or address (brackets taken off IPv6).
    Remote { host: String, port: u16 },
    /// Elsewhere, at whatever host and port the request itself addresses:
    /// ServiceEntries with resolution NONE or DYNAMIC_DNS, and allow-any.
    Requested,
}

/// One place that can answer.
#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    /// The pod's `namespace/name`, or `host:port`: stable over snapshots.
    pub name: String,
    pub workload: Option<Arc<Workload>>,
    pub target: Target,
    pub labels: Labels,
    /// 1 where nothing says otherwise.
    pub weight: u32,
    /// `None` is always ready.
    pub(crate) ready: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
pub struct Cluster {
    /// Envoy's name: `outbound|80|canary|productservice.shop.svc.cluster.local`.
    pub name: String,
    /// `destination_service` of Istio's metrics.
    pub service_fqdn: String,
    pub service_name: String,
    pub service_namespace: String,
    pub subset: Option<String>,
    /// The service's port, not the endpoints'.
    pub port: u16,
    pub protocol: Protocol,
    /// Outside the mesh (a MESH_EXTERNAL ServiceEntry, an external name, allow-any).
    pub external: bool,
    /// The pods behind an [`crate::InboundPort`].
    pub inbound: bool,
    /// The DestinationRule that shapes it.
    pub destination_rule: Option<ObjectRef>,
    /// `trafficPolicy.tls`. Where it is absent, or its mode leaves it open, a
    /// request with scheme `https` to a remote endpoint still begins TLS itself.
    pub tls: Option<ClientTls>,
    /// `connectionPool.tcp.connectTimeout`, 10 s where absent.
    pub connect_timeout: Duration,
    /// `connectionPool.http.idleTimeout`, 1 h where absent.
    pub idle_timeout: Duration,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) balancer: Balancer,
    pub(crate) limits: Limits,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) state: Arc<State>,
    /// Keys below this were given out before this snapshot.
    pub(crate) callers_known: usize,
    /// By caller key; most clusters have few callers, so made on first use.
    pub(crate) clients: OnceLock<Box<[OnceLock<Arc<Client>>]>>,
    /// Callers that came after this snapshot.
    pub(crate) late_clients: Mutex<HashMap<CallerKey, Arc<Client>>>,
}

/// What a pick depends on.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'a> {
    pub caller: CallerKey,
    pub now: Instant,
    /// From [`crate::Forward::hash`].
    pub hash: Option<u64>,
    /// Endpoints that earlier tries of this request went to.
    pub tried: &'a [EndpointId],
}

/// The endpoint of one try. Counts as an active request of that endpoint until
/// it is dropped: keep it until the response's body has ended.
pub struct Picked {
    pub endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    client: Arc<Client>,
    index: usize,
}

/// What one caller remembers of the cluster, in the order of its endpoints.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) memory: Arc<ClientState>,
    pub(crate) states: Box<[Arc<EndpointState>]>,
}

impl Endpoint {
    /// Whether the pod takes requests; ejection is not part of it.
    pub fn is_ready(&self) -> bool {
        self.ready
            .as_ref()
            .is_none_or(|ready| ready.load(Ordering::Acquire))
    }
}

impl CallerKey {
    /// Clients outside, together.
    pub const EDGE: Self = Self(0);
}

impl Cluster {
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// `ROUND_ROBIN`, `LEAST_REQUEST`, `RANDOM`, `RING_HASH` or `MAGLEV`.
    pub fn load_balancer(&self) -> &'static str {
        self.balancer.name()
    }

    /// Asks for a place among the requests that `connectionPool` allows.
    ///
    /// # Errors
    /// 503 UO where the requests and the queue are full.
    pub fn acquire(&self, caller: CallerKey) -> Result<Admission, LocalReply> {
        admit::acquire(&self.client(caller).memory, &self.limits)
    }

    /// Asks for one of the retries that `maxRetries` allows; `None` means the
    /// last answer is final, with flag UO.
    pub fn acquire_retry(&self, caller: CallerKey) -> Option<RetryPermit> {
        admit::acquire_retry(&self.client(caller).memory, &self.limits)
    }

    /// Chooses an endpoint that is ready and not ejected; one that was tried
    /// already only where no other is left.
    ///
    /// # Errors
    /// 503 UH where there is none.
    pub fn pick(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        rng: &mut impl Rng,
    ) -> Result<Picked, LocalReply> {
        let client = self.client(context.caller);
        let candidates = self.candidates(&client, context);
        let index = self.balancer.choose(&candidates, rng);
        let chosen = index.and_then(|index| Some((index, self.endpoints.get(index)?)));
        let Some((index, endpoint)) = chosen else {
            return Err(LocalReply::no_healthy_upstream());
        };
        if let Some(state) = client.states.get(index) {
            state.active.fetch_add(1, Relaxed);
        }
        Ok(Picked {
            endpoint: Arc::clone(endpoint),
            cluster: Arc::clone(self),
            client,
            index,
        })
    }

    /// Requests under way and requests waiting, as far as limits make them count.
    pub fn occupancy(&self, caller: CallerKey) -> (u32, usize) {
        self.client(caller).memory.gate.occupancy()
    }

    /// Whether the endpoint is out at `now` because of its failures, for this caller.
    pub fn is_ejected(&self, caller: CallerKey, endpoint: EndpointId, now: Instant) -> bool {
        let client = self.client(caller);
        let state = client.states.get(endpoint.0 as usize);
        state.is_some_and(|state| state.is_ejected(self.state.nanos(now)))
    }

    /// Requests of this caller under way at the endpoint.
    pub fn active_requests(&self, caller: CallerKey, endpoint: EndpointId) -> u32 {
        let client = self.client(caller);
        client
            .states
            .get(endpoint.0 as usize)
            .map_or(0, |state| state.active.load(Relaxed))
    }

    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        self.balancer.hash_key()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn outlier_detection(&self) -> Option<&OutlierDetection> {
        self.outlier_detection.as_ref()
    }

    pub(crate) fn candidates<'a>(
        &'a self,
        client: &'a Client,
        context: &PickContext<'a>,
    ) -> Candidates<'a> {
        Candidates {
            endpoints: &self.endpoints,
            client: &client.memory,
            states: &client.states,
            now: self.state.nanos(context.now),
            min_health_percent: self
                .outlier_detection
                .as_ref()
                .map_or(0, |detection| detection.min_health_percent),
            tried: context.tried,
            hash: context.hash,
        }
    }

    /// What the caller remembers of this cluster. Callers that were known when
    /// the snapshot was compiled are found without a lock.
    pub(crate) fn client(&self, caller: CallerKey) -> Arc<Client> {
        let slots = self.clients.get_or_init(|| {
            (0..self.callers_known)
                .map(|_| OnceLock::new())
                .collect::<Vec<_>>()
                .into_boxed_slice()
        });
        match slots.get(caller.0 as usize) {
            Some(slot) => Arc::clone(slot.get_or_init(|| self.new_client(caller))),
            None => self.late_client(caller),
        }
    }

    fn late_client(&self, caller: CallerKey) -> Arc<Client> {
        let mut late = self.late_clients.lock();
        Arc::clone(
            late.entry(caller)
                .or_insert_with(|| self.new_client(caller)),
        )
    }

    fn new_client(&self, caller: CallerKey) -> Arc<Client> {
        let memory = self.state.client(caller, &self.name);
        let states = memory.endpoints(self.endpoints.iter().map(|endpoint| endpoint.name.as_str()));
        *memory.shape.lock() = Some(Shape {
            limits: self.limits,
            ejects: self.outlier_detection.is_some(),
        });
        Arc::new(Client { memory, states })
    }
}

impl Picked {
    /// Tells outlier detection how the try ended. Call it once, when the
    /// response head is there or will never be; `Some` says that this failure
    /// took the endpoint out.
    pub fn record(&self, outcome: &Outcome, now: Instant) -> Option<Ejection> {
        let detection = self.cluster.outlier_detection.as_ref()?;
        let ring = eject::Ring {
            endpoints: &self.cluster.endpoints,
            client: &self.client.memory,
            states: &self.client.states,
        };
        let now = self.cluster.state.nanos(now);
        let ejection = eject::record(detection, &ring, self.index, outcome, now)?;
        self.client.memory.counts.ejected(&ejection);
        Some(ejection)
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if let Some(state) = self.client.states.get(self.index) {
            state.active.fetch_sub(1, Relaxed);
        }
    }
}

impl fmt::Debug for Picked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picked({} of {})", self.endpoint.name, self.cluster.name)
    }
}
