//! A destination: one port of one service, or of a subset of it, with the
//! policy of its DestinationRule and its endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galleria_manifest::model::{ClientTls, Labels, Protocol};
use rand::Rng;

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
    /// A pod of this process: [`crate::Pod::target`], and the port it listens on.
    Pod { target: usize, port: u16 },
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
    /// The DestinationRule that shapes it.
    pub destination_rule: Option<ObjectRef>,
    /// `trafficPolicy.tls`. Where it is absent, or its mode leaves it open, a
    /// request with scheme `https` to a remote endpoint still begins TLS itself.
    pub tls: Option<ClientTls>,
    /// `connectionPool.tcp.connectTimeout`, 10 s where absent.
    pub connect_timeout: Duration,
    /// `connectionPool.http.idleTimeout`, 1 h where absent.
    pub idle_timeout: Duration,
    /// `connectionPool.http.maxRequestsPerConnection`; `None` is without limit.
    pub max_requests_per_connection: Option<u32>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
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

/// The right to have one request (with all its tries) under way at a cluster.
/// Hold it until the response's body has ended; dropping it lets the next in.
#[derive(Debug)]
pub struct RequestPermit {}

/// The right to have one retry under way (`connectionPool.http.maxRetries`).
#[derive(Debug)]
pub struct RetryPermit {}

/// Waits for the permit; ready at once where no limit is reached. Dropping it
/// leaves the queue. How long it may wait is the caller's deadline.
#[derive(Debug)]
pub struct Admission {}

/// The endpoint of one try. Counts as an active request of that endpoint until
/// it is dropped: keep it until the response's body has ended.
#[derive(Debug)]
pub struct Picked {
    pub endpoint: Arc<Endpoint>,
}

/// An endpoint was taken out because of its failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    pub endpoint: String,
    /// `consecutive_5xx` or `consecutive_gateway_failure`.
    pub reason: &'static str,
    pub duration: Duration,
    /// How often it has been ejected in a row, this one included.
    pub times: u32,
}

impl Endpoint {
    /// Whether the pod takes requests; ejection is not part of it.
    pub fn is_ready(&self) -> bool {
        self.ready
            .as_ref()
            .is_none_or(|ready| ready.load(Ordering::Acquire))
    }
}

impl Cluster {
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Asks for a place among the requests that `connectionPool` allows.
    ///
    /// # Errors
    /// 503 UO where the requests and the queue are full.
    pub fn acquire(self: &Arc<Self>, caller: CallerKey) -> Result<Admission, LocalReply> {
        let _ = caller;
        Ok(Admission {})
    }

    /// Asks for one of the retries that `maxRetries` allows; `None` means the
    /// last answer is final, with flag UO.
    pub fn acquire_retry(self: &Arc<Self>, caller: CallerKey) -> Option<RetryPermit> {
        let _ = caller;
        Some(RetryPermit {})
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
        let _ = (context, rng);
        Err(LocalReply::no_healthy_upstream())
    }
}

impl Picked {
    /// Tells outlier detection how the try ended. Call it once, when the
    /// response head is there or will never be.
    pub fn record(&self, outcome: &Outcome, now: Instant) -> Option<Ejection> {
        let _ = (outcome, now);
        None
    }
}

impl Future for Admission {
    type Output = RequestPermit;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<RequestPermit> {
        std::task::Poll::Ready(RequestPermit {})
    }
}
