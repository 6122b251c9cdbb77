//! Reports a call that has ended: one count in the metrics, one access log line.

use std::sync::Arc;
use std::time::Duration;

use galleria_mesh::Workload;

use super::record::Record;
use crate::telemetry::access_log::{
    self, AccessLog, Line, QualifiedName, RequestFacts, StartTime, TraceId,
};
use crate::telemetry::metrics::{CallRecord, Metrics};

/// Counts the call: for its source and destination and for its rule if `all`, for its
/// cluster in any case, because canaries are judged by that.
pub(super) fn count(metrics: &Metrics, all: bool, record: &Record, duration: Duration) {
    let trace = &record.context.trace;
    let call = CallRecord {
        code: record.code,
        flags: record.flags,
        duration,
        request_bytes: record.received.get(),
        response_bytes: record.sent,
        trace_id: trace.is_sampled().then_some(trace.trace_id),
    };
    if all {
        metrics.record(&record.edge, &call);
        if let Some(route) = &record.route {
            metrics.routes.record(route, record.method, record.code);
        }
    }
    if let Some(cluster) = &record.cluster {
        metrics.tallies.record(cluster, &call);
    }
}

pub(super) fn log(log: &AccessLog, record: &Record, duration: Duration) {
    if let Some(facts) = record.facts.as_ref().filter(|_| log.is_on()) {
        log.write(&line(record, facts, duration));
    }
}

fn line<'a>(record: &'a Record, facts: &'a RequestFacts, duration: Duration) -> Line<'a> {
    let endpoint = record.picked.as_ref().map(|picked| &picked.endpoint);
    let cluster = record.cluster.as_ref();
    Line {
        start_time: StartTime(facts.start),
        method: Some(facts.method.as_str()),
        path: Some(&facts.path),
        protocol: Some(access_log::protocol(facts.protocol)),
        response_code: record.code,
        response_flags: record.flags,
        response_code_details: Some(&record.details),
        connection_termination_details: None,
        upstream_transport_failure_reason: record.transport_failure.as_deref(),
        bytes_received: record.received.get(),
        bytes_sent: record.sent,
        duration: access_log::millis(duration),
        upstream_service_time: record.upstream_time.map(access_log::millis),
        x_forwarded_for: facts.forwarded_for.as_deref(),
        user_agent: facts.user_agent.as_deref(),
        request_id: record.context.request_id.to_str().ok(),
        authority: Some(&facts.authority),
        upstream_host: endpoint.map(|endpoint| endpoint.name.as_str()),
        upstream_cluster: cluster.map(|cluster| cluster.name.as_str()),
        upstream_local_address: None,
        downstream_local_address: None,
        requested_server_name: facts.server_name.as_deref(),
        downstream_remote_address: facts.client,
        route_name: Some(record.route_name.as_str()).filter(|name| !name.is_empty()),
        attempts: record.attempts,
        source_workload: qualified(record.edge.source.as_ref()),
        destination_workload: qualified(record.edge.destination.as_ref()),
        trace_id: Some(TraceId(record.context.trace.trace_id)),
    }
}

fn qualified(workload: Option<&Arc<Workload>>) -> Option<QualifiedName<'_>> {
    workload.map(|workload| QualifiedName(workload))
}
