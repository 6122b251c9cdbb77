//! The facts of one call, collected while it proceeds.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_mesh as mesh;
use galleria_mesh::inbound::peer::Connection;
use galleria_mesh::{
    LocalReply, Outcome, PickedEndpoint, ResponseFlags, RouteId, Target, Workload,
};
use http::Method;

use crate::active_config::ActiveConfig;
use crate::body::ByteCount;
use crate::context::RequestContext;
use crate::telemetry::access_log::RequestFacts;
use crate::telemetry::metrics::{CallEdge, MethodClass, Reporter};

/// See the module's documentation.
pub(crate) struct Record {
    pub(super) started: Instant,
    pub(super) context: Arc<RequestContext>,
    /// Only if something reports them: the access log or a span.
    pub(super) facts: Option<RequestFacts>,
    pub(super) edge: CallEdge,
    pub(super) cluster: Option<Arc<mesh::Cluster>>,
    pub(super) route_name: String,
    /// The rule that matched.
    pub(super) route: Option<Arc<RouteId>>,
    pub(super) method: MethodClass,
    /// 0 until there is a response.
    pub(super) code: u16,
    pub(super) details: Cow<'static, str>,
    pub(in crate::call) flags: ResponseFlags,
    pub(in crate::call) attempts: u32,
    /// Why the last attempt did not reach another host.
    pub(in crate::call) transport_failure: Option<String>,
    /// Until the last attempt's response head.
    pub(in crate::call) upstream_time: Option<Duration>,
    /// Bytes of the request's body that were read.
    pub(super) received: ByteCount,
    /// Bytes of the response's body that were read.
    pub(super) sent: u64,
    /// The last attempt's endpoint, which counts as busy until the record is dropped.
    pub(super) picked: Option<Arc<PickedEndpoint>>,
}

impl Record {
    pub(in crate::call) fn new(
        method: &Method,
        source: Option<Arc<Workload>>,
        context: Arc<RequestContext>,
        facts: Option<RequestFacts>,
        received: ByteCount,
    ) -> Self {
        Self {
            started: Instant::now(),
            context,
            facts,
            edge: CallEdge {
                source,
                destination: None,
                service: None,
                reporter: Reporter::Both,
                is_mutual_tls: false,
            },
            cluster: None,
            route_name: String::new(),
            route: None,
            method: MethodClass::of(method),
            code: 0,
            details: Cow::Borrowed("via_upstream"),
            flags: ResponseFlags::NONE,
            attempts: 0,
            transport_failure: None,
            upstream_time: None,
            received,
            sent: 0,
            picked: None,
        }
    }

    /// A rule matched.
    pub(in crate::call) fn matched(&mut self, route: Option<Arc<RouteId>>) {
        self.route = route;
    }

    /// The rule forwards the call to `cluster`, over `connection`.
    pub(in crate::call) fn forwarded(
        &mut self,
        live: &ActiveConfig,
        cluster: &Arc<mesh::Cluster>,
        connection: Connection,
        route_name: &str,
    ) {
        self.edge.is_mutual_tls = connection != Connection::PlainText;
        self.edge.service = Some(live.service_names(cluster));
        if cluster.inbound {
            self.edge.reporter = Reporter::Destination;
        }
        self.cluster = Some(cluster.clone());
        self.route_name = route_name.to_owned();
    }

    /// An attempt begins.
    pub(in crate::call) fn attempt(&mut self, picked: Arc<PickedEndpoint>) {
        self.attempts += 1;
        self.transport_failure = None;
        self.edge.destination = picked.endpoint.workload.clone();
        if matches!(picked.endpoint.target, Target::Peer { .. }) {
            self.edge.reporter = Reporter::Source;
        }
        self.picked = Some(picked);
    }

    /// The body of the response missed the call's deadline: the endpoint was too slow.
    pub(in crate::call) fn timed_out(&self) {
        if let Some(picked) = &self.picked {
            picked.record(&Outcome::failure(mesh::Failure::Timeout), Instant::now());
        }
    }

    /// The mesh itself responds.
    pub(in crate::call) fn replied(&mut self, reply: &LocalReply) {
        self.flags |= reply.flags;
        self.details = reply.details.clone();
    }
}
