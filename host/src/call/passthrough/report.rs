//! The report of one connection: its metrics while it lasts, and its line when it ends.

use std::sync::Arc;
use std::time::SystemTime;

use galleria_mesh::{Cluster, Endpoint, ResponseFlags};

use super::flow::Flow;
use super::{PassedThrough, Refusal};
use crate::active_config::ActiveConfig;
use crate::call::Mesh;
use crate::telemetry::access_log::{Line, StartTime, millis};
use crate::telemetry::metrics::{ConnectionSeries, ServiceNames};

/// Reports when it is dropped.
pub(super) struct Report {
    mesh: Arc<Mesh>,
    pub(super) connection: PassedThrough,
    flow: Arc<Flow>,
    start: SystemTime,
    cluster: Option<Arc<Cluster>>,
    service: Option<Arc<ServiceNames>>,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    flags: ResponseFlags,
    /// The policy that refused the connection, or why the host closed it.
    termination: Option<String>,
    /// Why there is no connection to the server.
    failure: Option<String>,
    /// Once the connection has a server, or will not have one.
    series: Option<Arc<ConnectionSeries>>,
    /// The bytes of both directions that are counted already.
    counted: (u64, u64),
}

impl Report {
    pub(super) fn new(mesh: Arc<Mesh>, connection: PassedThrough, flow: Arc<Flow>) -> Self {
        Self {
            mesh,
            connection,
            flow,
            start: SystemTime::now(),
            cluster: None,
            service: None,
            endpoint: None,
            flags: ResponseFlags::NONE,
            termination: None,
            failure: None,
            series: None,
            counted: (0, 0),
        }
    }

    /// A rule passes the connection on to `cluster`.
    pub(super) fn routed(&mut self, live: &ActiveConfig, cluster: &Arc<Cluster>) {
        self.service = Some(live.service_names(cluster));
        self.cluster = Some(cluster.clone());
    }

    /// It has a server.
    pub(super) fn connected(&mut self) {
        self.series = Some(self.begin());
    }

    pub(super) fn refused(mut self, refusal: Refusal) {
        self.flags = refusal.flags;
        self.termination = refusal.denied;
        self.failure = refusal.failure;
        self.series = Some(self.begin());
    }

    pub(super) fn idle(&mut self) {
        self.termination = Some("idle_timeout".to_owned());
    }

    /// Counts the bytes since the last time.
    pub(super) fn progress(&mut self) {
        let Some(series) = &self.series else {
            return;
        };
        let (received, sent) = self.flow.bytes();
        series
            .received
            .inc_by(received.saturating_sub(self.counted.0));
        series.sent.inc_by(sent.saturating_sub(self.counted.1));
        self.counted = (received, sent);
    }

    fn begin(&self) -> Arc<ConnectionSeries> {
        let connections = &self.mesh.metrics.connections;
        let series = connections.of(self.service.as_deref(), self.flags);
        series.opened.inc();
        series
    }

    fn line(&self) -> Line<'_> {
        let (received, sent) = self.flow.bytes();
        let cluster = self.cluster.as_ref();
        let endpoint = self.endpoint.as_ref();
        Line {
            start_time: StartTime(self.start),
            method: None,
            path: None,
            protocol: None,
            response_code: 0,
            response_flags: self.flags,
            response_code_details: None,
            connection_termination_details: self.termination.as_deref(),
            upstream_transport_failure_reason: self.failure.as_deref(),
            bytes_received: received,
            bytes_sent: sent,
            duration: millis(self.flow.age()),
            upstream_service_time: None,
            x_forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: endpoint.map(|endpoint| endpoint.name.as_str()),
            upstream_cluster: cluster.map(|cluster| cluster.name.as_str()),
            upstream_local_address: None,
            downstream_local_address: None,
            requested_server_name: self.connection.server_name.as_deref(),
            downstream_remote_address: self.connection.client,
            route_name: None,
            attempts: u32::from(endpoint.is_some()),
            source_workload: None,
            destination_workload: None,
            trace_id: None,
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // The client has gone before there was a server.
        if self.series.is_none() {
            self.flags = ResponseFlags::DC;
            self.series = Some(self.begin());
        }
        self.progress();
        if let Some(series) = &self.series {
            series.closed.inc();
        }
        let log = &self.mesh.access_log;
        if log.is_on() {
            log.write(&self.line());
        }
    }
}
