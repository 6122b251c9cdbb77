//! A destination: one port of a service or of one of its subsets, with the policy of its
//! DestinationRule and its endpoints.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use galleria_manifest::model::{ClientTls, HashKey, Labels, OutlierDetection, Protocol};
use ipnet::IpNet;
use rand::Rng;

use super::admit::{self, Admission, Limits, RetryPermit};
use super::balance::{Balancer, Candidates};
use super::count::Shape;
use super::eject::{self, Ejection};
use super::state::{ClientState, EndpointState, State};
use crate::{LocalReply, ObjectRef, Outcome, Workload};

/// The owner of state: the edge, or one calling workload. Breakers, ejections and counters
/// are kept per caller, as sidecars keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerKey(pub(crate) u32);

/// The number of an endpoint within its cluster, for [`PickContext::tried`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(crate) u32);

/// The address of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A pod in this process: the index in [`crate::Location::Here`], and the port that it
    /// listens on.
    Pod { target: usize, port: u16 },
    /// A pod in another host of the mesh.
    Peer { host: String, port: u16 },
    /// Outside the mesh, at this name or address. IPv6 addresses have no brackets.
    Remote { host: String, port: u16 },
    /// Outside the mesh, at this name and the port that the request addresses: an
    /// ExternalName.
    AnyPort { host: String },
    /// Outside the mesh, at the host and port that the request itself addresses:
    /// ServiceEntries with resolution NONE or DYNAMIC_DNS, and
    /// [`crate::OutboundPolicy::AllowAny`].
    Requested,
}

/// One pod or address that can answer requests.
#[derive(Debug)]
pub struct Endpoint {
    pub id: EndpointId,
    /// The pod's `namespace/name`, or `host:port`. It is the same in every snapshot.
    pub name: String,
    pub workload: Option<Arc<Workload>>,
    pub target: Target,
    /// The port of the pod, which can differ from that of its host in [`Target::Peer`].
    pub pod_port: Option<u16>,
    pub labels: Labels,
    /// The default is 1.
    pub weight: u32,
    /// `None` means always ready.
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
    /// Outside the mesh: a MESH_EXTERNAL ServiceEntry, an ExternalName, or an undeclared
    /// destination.
    pub external: bool,
    /// The pods behind an [`crate::InboundPort`].
    pub inbound: bool,
    /// Networks whose addresses its endpoints may have, even if they are not public.
    pub(crate) declared_networks: Arc<[IpNet]>,
    /// The DestinationRule that applies to it.
    pub destination_rule: Option<ObjectRef>,
    /// `trafficPolicy.tls`. If it is absent or its mode does not decide, a request with
    /// scheme `https` to a remote endpoint still uses TLS.
    pub tls: Option<ClientTls>,
    /// `connectionPool.tcp.connectTimeout`; 10 s if absent.
    pub connect_timeout: Duration,
    /// `connectionPool.http.idleTimeout`; 1 h if absent.
    pub idle_timeout: Duration,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) balancer: Balancer,
    pub(crate) limits: Limits,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) state: Arc<State>,
    /// Keys below this existed before this snapshot.
    pub(crate) callers_known: usize,
    /// By caller key. Created on first use, because most clusters have few callers.
    pub(crate) clients: OnceLock<Box<[OnceLock<Arc<Client>>]>>,
    /// Callers that are newer than this snapshot.
    pub(crate) late_clients: Mutex<HashMap<CallerKey, Arc<Client>>>,
}

/// The inputs of a pick.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'a> {
    pub caller: CallerKey,
    pub now: Instant,
    /// From [`crate::Forward::hash`].
    pub hash: Option<u64>,
    /// The endpoints of earlier attempts of this request.
    pub tried: &'a [EndpointId],
}

/// The endpoint of one attempt. It counts as an active request of the endpoint until it is
/// dropped: keep it until the response's body has ended.
pub struct PickedEndpoint {
    pub endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    client: Arc<Client>,
    index: usize,
}

/// The state of one caller, with the states of the endpoints in the order of the cluster.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) memory: Arc<ClientState>,
    pub(crate) states: Box<[Arc<EndpointState>]>,
}

impl Endpoint {
    /// Whether the pod accepts requests. It can be ejected nevertheless.
    pub fn is_ready(&self) -> bool {
        self.ready
            .as_ref()
            .is_none_or(|ready| ready.load(Ordering::Acquire))
    }
}

impl CallerKey {
    /// All clients outside the mesh.
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

    /// Asks for one of the requests that `connectionPool` allows.
    ///
    /// # Errors
    /// 503 UO if the limit of requests is reached, or the queue is full.
    pub fn acquire(&self, caller: CallerKey) -> Result<Admission, LocalReply> {
        admit::acquire(&self.client(caller).memory, &self.limits)
    }

    /// Asks for one of the retries that `maxRetries` allows. `None` means that the last
    /// answer is final, with flag UO.
    pub fn acquire_retry(&self, caller: CallerKey) -> Option<RetryPermit> {
        admit::acquire_retry(&self.client(caller).memory, &self.limits)
    }

    /// Picks an endpoint that is ready and not ejected. An endpoint that was already tried
    /// is picked only if no other is left.
    ///
    /// # Errors
    /// 503 UH if no endpoint is available.
    pub fn pick(
        self: &Arc<Self>,
        context: &PickContext<'_>,
        rng: &mut impl Rng,
    ) -> Result<PickedEndpoint, LocalReply> {
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
        Ok(PickedEndpoint {
            endpoint: Arc::clone(endpoint),
            cluster: Arc::clone(self),
            client,
            index,
        })
    }

    /// The requests in progress and the waiting requests. They are counted only if there
    /// are limits.
    pub fn occupancy(&self, caller: CallerKey) -> (u32, usize) {
        self.client(caller).memory.gate.occupancy()
    }

    /// Whether the endpoint is ejected at `now` for this caller.
    pub fn is_ejected(&self, caller: CallerKey, endpoint: EndpointId, now: Instant) -> bool {
        let client = self.client(caller);
        let state = client.states.get(endpoint.0 as usize);
        state.is_some_and(|state| state.is_ejected(self.state.nanos(now)))
    }

    /// The active requests of this caller at the endpoint.
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

    /// The state of a caller for this cluster. Callers that existed when the snapshot was
    /// compiled are found without a lock.
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

impl PickedEndpoint {
    /// Reports the end of the attempt to outlier detection. Call it once, when the response
    /// head has arrived or cannot arrive any more. `Some` means that this failure ejected
    /// the endpoint.
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

impl Drop for PickedEndpoint {
    fn drop(&mut self) {
        if let Some(state) = self.client.states.get(self.index) {
            state.active.fetch_sub(1, Relaxed);
        }
    }
}

impl fmt::Debug for PickedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PickedEndpoint({} of {})",
            self.endpoint.name, self.cluster.name
        )
    }
}
