//! The catalogue of metrics: every name with its meaning, unit and labels. No other file
//! contains metric names.

/// A metric, as it is registered and documented.
#[derive(Debug)]
pub(crate) struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// The suffix of the name before `_total`; empty for plain counts.
    pub unit: &'static str,
    pub labels: &'static [&'static str],
}

/// The type of a metric.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Never decreases.
    Counter,
    Gauge,
    /// With these upper bounds.
    Histogram(&'static [f64]),
}

pub(crate) static REQUESTS: Metric = Metric {
    name: "istio_requests_total",
    help: "Calls by source, destination, response code and flags.",
    kind: Kind::Counter,
    unit: "",
    labels: EDGE_LABELS,
};

pub(crate) static REQUEST_DURATION: Metric = Metric {
    name: "istio_request_duration_milliseconds",
    help: "Time from a request's arrival to the end of its response.",
    kind: Kind::Histogram(ENVOY_BUCKETS),
    unit: "milliseconds",
    labels: EDGE_LABELS,
};

pub(crate) static REQUEST_BYTES: Metric = Metric {
    name: "istio_request_bytes",
    help: "Size of request bodies.",
    kind: Kind::Histogram(ENVOY_BUCKETS),
    unit: "bytes",
    labels: EDGE_LABELS,
};

pub(crate) static RESPONSE_BYTES: Metric = Metric {
    name: "istio_response_bytes",
    help: "Size of response bodies.",
    kind: Kind::Histogram(ENVOY_BUCKETS),
    unit: "bytes",
    labels: EDGE_LABELS,
};

pub(crate) static TCP_OPENED: Metric = Metric {
    name: "istio_tcp_connections_opened_total",
    help: "Connections that a gateway passes through without decrypting them, by destination and flags.",
    kind: Kind::Counter,
    unit: "",
    labels: TCP_LABELS,
};

pub(crate) static TCP_CLOSED: Metric = Metric {
    name: "istio_tcp_connections_closed_total",
    help: "Those of them that have ended.",
    kind: Kind::Counter,
    unit: "",
    labels: TCP_LABELS,
};

pub(crate) static TCP_RECEIVED: Metric = Metric {
    name: "istio_tcp_received_bytes_total",
    help: "Bytes that clients sent on them.",
    kind: Kind::Counter,
    unit: "bytes",
    labels: TCP_LABELS,
};

pub(crate) static TCP_SENT: Metric = Metric {
    name: "istio_tcp_sent_bytes_total",
    help: "Bytes that servers sent on them.",
    kind: Kind::Counter,
    unit: "bytes",
    labels: TCP_LABELS,
};

pub(crate) static BUILD: Metric = Metric {
    name: "istio_build",
    help: "The running version.",
    kind: Kind::Gauge,
    unit: "",
    labels: &["component", "tag"],
};

pub(crate) static ROUTE_REQUESTS: Metric = Metric {
    name: "galleria_route_requests_total",
    help: "Calls that matched a rule of a VirtualService, HTTPRoute or Ingress, by the rule's name, or its position if it has no name.",
    kind: Kind::Counter,
    unit: "",
    labels: &["virtual_service", "route", "method", "response_code"],
};

pub(crate) static AUTHORIZATION_DRY_RUNS: Metric = Metric {
    name: "galleria_authorization_dry_runs_total",
    help: "Requests that authorization policies with the annotation istio.io/dry-run have judged, by the action of the policies and what they would have decided.",
    kind: Kind::Counter,
    unit: "",
    labels: &["action", "result"],
};

pub(crate) static DECISIONS: Metric = Metric {
    name: "galleria_provider_decisions_total",
    help: "Requests that services decided about, by kind of service (ext_authz, ratelimit), its name (an extension provider of MeshConfig, or a domain of rate limits), and result: ok, denied, and error if it gave no decision.",
    kind: Kind::Counter,
    unit: "",
    labels: &["kind", "provider", "result"],
};

pub(crate) static KEY_FETCHES: Metric = Metric {
    name: "galleria_jwks_fetches_total",
    help: "Fetches of the keys of issuers (jwksUri, or the issuer's OpenID configuration), by result: success, failure.",
    kind: Kind::Counter,
    unit: "",
    labels: &["result"],
};

pub(crate) static PEER_REFUSALS: Metric = Metric {
    name: "galleria_peer_refusals_total",
    help: "Connections between hosts that were refused, and callers that were not believed, by reason. At either end of mutual TLS: unknown_authority, expired, no_certificate, wrong_identity (the certificate of another workload, or of none), handshake (anything else). plain_text: a connection to a workload that is STRICT. claim: a request claims another identity than its connection proves.",
    kind: Kind::Counter,
    unit: "",
    labels: &["reason"],
};

pub(crate) static RETRIES: Metric = Metric {
    name: "galleria_retries_total",
    help: "Attempts after the first one.",
    kind: Kind::Counter,
    unit: "",
    labels: CLIENT,
};

pub(crate) static BREAKER_ACTIVE: Metric = Metric {
    name: "galleria_breaker_active_requests",
    help: "Active requests where connectionPool limits them.",
    kind: Kind::Gauge,
    unit: "",
    labels: CLIENT,
};

pub(crate) static BREAKER_PENDING: Metric = Metric {
    name: "galleria_breaker_pending_requests",
    help: "Pending requests where connectionPool limits them.",
    kind: Kind::Gauge,
    unit: "",
    labels: CLIENT,
};

pub(crate) static BREAKER_OPEN: Metric = Metric {
    name: "galleria_breaker_open",
    help: "Whether connectionPool would refuse the next request: 1 or 0.",
    kind: Kind::Gauge,
    unit: "",
    labels: CLIENT,
};

pub(crate) static BREAKER_OVERFLOWS: Metric = Metric {
    name: "galleria_breaker_overflows_total",
    help: "Requests and retries that connectionPool refused.",
    kind: Kind::Counter,
    unit: "",
    labels: CLIENT,
};

pub(crate) static EJECTED_ENDPOINTS: Metric = Metric {
    name: "galleria_ejected_endpoints",
    help: "Endpoints that are currently ejected by outlierDetection.",
    kind: Kind::Gauge,
    unit: "",
    labels: CLIENT,
};

pub(crate) static EJECTIONS: Metric = Metric {
    name: "galleria_ejections_total",
    help: "Ejections of endpoints by reason: consecutive_5xx or consecutive_gateway_failure.",
    kind: Kind::Counter,
    unit: "",
    labels: &[
        "source_workload",
        "source_workload_namespace",
        "cluster",
        "reason",
    ],
};

pub(crate) static FAULTS: Metric = Metric {
    name: "galleria_faults_injected_total",
    help: "Faults that a rule injected, by kind: delay or abort.",
    kind: Kind::Counter,
    unit: "",
    labels: &[
        "source_workload",
        "source_workload_namespace",
        "cluster",
        "fault",
    ],
};

pub(crate) static MIRRORED: Metric = Metric {
    name: "galleria_mirrored_requests_total",
    help: "Mirrored requests, by the cluster of the mirror and result: sent, or dropped (no endpoint, too slow, or too far behind).",
    kind: Kind::Counter,
    unit: "",
    labels: &[
        "source_workload",
        "source_workload_namespace",
        "cluster",
        "result",
    ],
};

pub(crate) static INSTANCES: Metric = Metric {
    name: "galleria_instances",
    help: "Instances of a pod's component, by state: idle or busy.",
    kind: Kind::Gauge,
    unit: "",
    labels: &["namespace", "workload", "pod", "state"],
};

pub(crate) static INSTANCES_STARTED: Metric = Metric {
    name: "galleria_instances_started_total",
    help: "Instances that a pod created.",
    kind: Kind::Counter,
    unit: "",
    labels: POD,
};

pub(crate) static INSTANCES_RETIRED: Metric = Metric {
    name: "galleria_instances_retired_total",
    help: "Instances that a pod dropped, by reason: request (created for one request), warm_up (created to check that it starts), idle (not needed), spent (served its share of requests), grown (its handles or memory kept growing), failed (trapped or returned no response), abandoned (its caller disconnected or it timed out), ended (the pod ended, or its environment changed).",
    kind: Kind::Counter,
    unit: "",
    labels: &["namespace", "workload", "pod", "reason"],
};

pub(crate) static INSTANCE_START: Metric = Metric {
    name: "galleria_instance_start_seconds",
    help: "Time to create an instance, including its start function.",
    kind: Kind::Histogram(START_BUCKETS),
    unit: "seconds",
    labels: POD,
};

pub(crate) static QUEUE_DEPTH: Metric = Metric {
    name: "galleria_queue_depth",
    help: "Requests waiting for an instance of a pod.",
    kind: Kind::Gauge,
    unit: "",
    labels: POD,
};

pub(crate) static QUEUE_WAIT: Metric = Metric {
    name: "galleria_queue_wait_seconds",
    help: "Time that requests waited for an instance; for WASI 0.3, until an instance took them.",
    kind: Kind::Histogram(WAIT_BUCKETS),
    unit: "seconds",
    labels: POD,
};

pub(crate) static MEMORY_BYTES: Metric = Metric {
    name: "galleria_memory_bytes",
    help: "Linear memory of a pod's instances.",
    kind: Kind::Gauge,
    unit: "bytes",
    labels: POD,
};

pub(crate) static MEMORY_LIMIT_BYTES: Metric = Metric {
    name: "galleria_memory_limit_bytes",
    help: "A pod's memory limit.",
    kind: Kind::Gauge,
    unit: "bytes",
    labels: POD,
};

pub(crate) static CPU_SECONDS: Metric = Metric {
    name: "galleria_cpu_seconds_total",
    help: "CPU time of a pod's guests.",
    kind: Kind::Counter,
    unit: "seconds",
    labels: POD,
};

pub(crate) static CPU_THROTTLED_PERIODS: Metric = Metric {
    name: "galleria_cpu_throttled_periods_total",
    help: "Periods of 100 ms in which a pod was paused because it had used up its CPU limit.",
    kind: Kind::Counter,
    unit: "",
    labels: POD,
};

pub(crate) static CPU_THROTTLED_SECONDS: Metric = Metric {
    name: "galleria_cpu_throttled_seconds_total",
    help: "Time for which a pod was paused because it had used up its CPU limit.",
    kind: Kind::Counter,
    unit: "seconds",
    labels: POD,
};

pub(crate) static POD_READY: Metric = Metric {
    name: "galleria_pod_ready",
    help: "Whether a pod is an endpoint: 1 or 0.",
    kind: Kind::Gauge,
    unit: "",
    labels: POD,
};

pub(crate) static POD_RESTARTS: Metric = Metric {
    name: "galleria_pod_restarts_total",
    help: "How often a pod was restarted.",
    kind: Kind::Counter,
    unit: "",
    labels: POD,
};

pub(crate) static GUEST_FAILURES: Metric = Metric {
    name: "galleria_guest_failures_total",
    help: "Requests that failed in a guest, by reason: Error (a trap), OOMKilled, Evicted, DeadlineExceeded, Overflow (the queue was full), NoResponse, Killed, StartError.",
    kind: Kind::Counter,
    unit: "",
    labels: &["namespace", "workload", "pod", "reason"],
};

pub(crate) static PROBES: Metric = Metric {
    name: "galleria_probes_total",
    help: "Probes by kind and result: success or failure.",
    kind: Kind::Counter,
    unit: "",
    labels: &["namespace", "workload", "pod", "probe", "result"],
};

pub(crate) static JOB_PODS: Metric = Metric {
    name: "galleria_job_pods",
    help: "Running pods of a Job; the Jobs of a CronJob count under its name.",
    kind: Kind::Gauge,
    unit: "",
    labels: JOB,
};

pub(crate) static JOB_PODS_ENDED: Metric = Metric {
    name: "galleria_job_pods_ended_total",
    help: "Finished runs of a Job's pods, by result: succeeded or failed.",
    kind: Kind::Counter,
    unit: "",
    labels: &["namespace", "job_name", "result"],
};

pub(crate) static JOBS_FINISHED: Metric = Metric {
    name: "galleria_jobs_finished_total",
    help: "Jobs that finished, by result: complete or failed.",
    kind: Kind::Counter,
    unit: "",
    labels: &["namespace", "job_name", "result"],
};

pub(crate) static SQL_CONNECTIONS: Metric = Metric {
    name: "galleria_sql_connections",
    help: "Connections of a workload's pools, by state: idle or busy.",
    kind: Kind::Gauge,
    unit: "",
    labels: &["namespace", "workload", "database", "state"],
};

pub(crate) static SQL_STATEMENT: Metric = Metric {
    name: "galleria_sql_statement_seconds",
    help: "Time of a guest's SQL statements, by result: ok or error. The database is host:port/name, or where the file's volume is mounted.",
    kind: Kind::Histogram(SQL_BUCKETS),
    unit: "seconds",
    labels: &["namespace", "workload", "database", "result"],
};

pub(crate) static CONNECTIONS: Metric = Metric {
    name: "galleria_connections",
    help: "Open client connections, by listener port.",
    kind: Kind::Gauge,
    unit: "",
    labels: &["port"],
};

pub(crate) static CONNECTIONS_ACCEPTED: Metric = Metric {
    name: "galleria_connections_accepted_total",
    help: "Accepted client connections, by listener port.",
    kind: Kind::Counter,
    unit: "",
    labels: &["port"],
};

pub(crate) static CONNECTIONS_CLOSED: Metric = Metric {
    name: "galleria_connections_closed_total",
    help: "Client connections that the host closed, by listener port and reason: head_timeout (no whole request head in time), idle_timeout, stalled (the client does not read; on HTTP/2 one stream), evicted (idle, and others needed its place), client_limit (its address reached its limit), handshake_failed (TLS: no server for the name, no common version, or no valid client certificate).",
    kind: Kind::Counter,
    unit: "",
    labels: &["port", "reason"],
};

pub(crate) static RECEIVED_BYTES: Metric = Metric {
    name: "galleria_received_bytes_total",
    help: "Bytes read from client connections, by listener port.",
    kind: Kind::Counter,
    unit: "bytes",
    labels: &["port"],
};

pub(crate) static SENT_BYTES: Metric = Metric {
    name: "galleria_sent_bytes_total",
    help: "Bytes written to client connections, by listener port.",
    kind: Kind::Counter,
    unit: "bytes",
    labels: &["port"],
};

pub(crate) static RELOADS: Metric = Metric {
    name: "galleria_configuration_reloads_total",
    help: "Configuration changes, by result: accepted or rejected.",
    kind: Kind::Counter,
    unit: "",
    labels: &["result"],
};

pub(crate) static SNAPSHOT_AGE: Metric = Metric {
    name: "galleria_snapshot_age_seconds",
    help: "Time since the current snapshot became active.",
    kind: Kind::Gauge,
    unit: "seconds",
    labels: &[],
};

pub(crate) static COMPONENT_LOADS: Metric = Metric {
    name: "galleria_component_loads_total",
    help: "Loaded components, by result: cached (compiled code was found) or compiled.",
    kind: Kind::Counter,
    unit: "",
    labels: &["result"],
};

pub(crate) static CERTIFICATE_EXPIRY: Metric = Metric {
    name: "galleria_certificate_expiry_timestamp_seconds",
    help: "When a certificate expires, in seconds since 1970: that of the admin port, those of gateways (NAMESPACE/SECRET or the file), the files of DestinationRules, and those of the certificate authority in --ca-dir. For several in a file, the earliest.",
    kind: Kind::Gauge,
    unit: "seconds",
    labels: &["certificate"],
};

pub(crate) static CERTIFICATES_ISSUED: Metric = Metric {
    name: "galleria_workload_certificates_issued_total",
    help: "Certificates that the host has signed for its workloads.",
    kind: Kind::Counter,
    unit: "",
    labels: &[],
};

pub(crate) static TRUSTED_ROOTS: Metric = Metric {
    name: "galleria_trusted_roots",
    help: "Root certificates by which the host verifies other hosts: more than one during a rotation.",
    kind: Kind::Gauge,
    unit: "",
    labels: &[],
};

pub(crate) static LOG_DROPPED: Metric = Metric {
    name: "galleria_log_lines_dropped_total",
    help: "Access log and guest lines dropped because standard output was too slow.",
    kind: Kind::Counter,
    unit: "",
    labels: &[],
};

pub(crate) static AUDIT_DROPPED: Metric = Metric {
    name: "galleria_audit_events_dropped_total",
    help: "Events of the admin API's audit log that were lost because its file was too slow or full.",
    kind: Kind::Counter,
    unit: "",
    labels: &[],
};

pub(crate) static TRACE_SPANS: Metric = Metric {
    name: "galleria_trace_spans_total",
    help: "Spans by result: exported, failed (the collector did not accept them), dropped (too many were queued).",
    kind: Kind::Counter,
    unit: "",
    labels: &["result"],
};

pub(crate) static TRACE_HEADERS_IGNORED: Metric = Metric {
    name: "galleria_trace_headers_ignored_total",
    help: "Headers traceparent, tracestate, b3, x-b3-… and baggage that were dropped because they were malformed or too long.",
    kind: Kind::Counter,
    unit: "",
    labels: &[],
};

/// Every metric.
pub(crate) static ALL: &[&Metric] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &TCP_OPENED,
    &TCP_CLOSED,
    &TCP_RECEIVED,
    &TCP_SENT,
    &BUILD,
    &ROUTE_REQUESTS,
    &AUTHORIZATION_DRY_RUNS,
    &DECISIONS,
    &KEY_FETCHES,
    &PEER_REFUSALS,
    &RETRIES,
    &BREAKER_ACTIVE,
    &BREAKER_PENDING,
    &BREAKER_OPEN,
    &BREAKER_OVERFLOWS,
    &EJECTED_ENDPOINTS,
    &EJECTIONS,
    &FAULTS,
    &MIRRORED,
    &INSTANCES,
    &INSTANCES_STARTED,
    &INSTANCES_RETIRED,
    &INSTANCE_START,
    &QUEUE_DEPTH,
    &QUEUE_WAIT,
    &MEMORY_BYTES,
    &MEMORY_LIMIT_BYTES,
    &CPU_SECONDS,
    &CPU_THROTTLED_PERIODS,
    &CPU_THROTTLED_SECONDS,
    &POD_READY,
    &POD_RESTARTS,
    &GUEST_FAILURES,
    &PROBES,
    &JOB_PODS,
    &JOB_PODS_ENDED,
    &JOBS_FINISHED,
    &SQL_CONNECTIONS,
    &SQL_STATEMENT,
    &CONNECTIONS,
    &CONNECTIONS_ACCEPTED,
    &CONNECTIONS_CLOSED,
    &RECEIVED_BYTES,
    &SENT_BYTES,
    &RELOADS,
    &SNAPSHOT_AGE,
    &COMPONENT_LOADS,
    &CERTIFICATE_EXPIRY,
    &CERTIFICATES_ISSUED,
    &TRUSTED_ROOTS,
    &LOG_DROPPED,
    &AUDIT_DROPPED,
    &TRACE_SPANS,
    &TRACE_HEADERS_IGNORED,
];

/// Labels of metrics about one pod.
const POD: &[&str] = &["namespace", "workload", "pod"];

/// Labels of one caller's calls to one cluster (by Envoy's name). For the edge, the
/// workload is `unknown`.
const CLIENT: &[&str] = &["source_workload", "source_workload_namespace", "cluster"];

const JOB: &[&str] = &["namespace", "job_name"];

/// Istio's standard labels, in the order of its documentation.
pub(crate) const EDGE_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
];

/// The labels of Istio's metrics for connections.
pub(crate) const TCP_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

/// Envoy's default buckets, used for milliseconds and for bytes, so that Istio's
/// dashboards work.
pub(crate) const ENVOY_BUCKETS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// From an instance that starts in a few microseconds to an interpreter that loads its
/// library.
const START_BUCKETS: &[f64] = &[
    0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

/// The first bucket is for requests that do not wait.
const WAIT_BUCKETS: &[f64] = &[
    0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// From a row of a cached file to the time limit of a statement.
const SQL_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The metric with the name `name`.
pub(crate) fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_contain_kind_and_unit() {
        // OpenMetrics calls a counter by its name without the suffix.
        let family = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
        let names: BTreeSet<_> = ALL.iter().map(|metric| family(metric.name)).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let name = metric.name;
            let is_counter = matches!(metric.kind, Kind::Counter);
            assert_eq!(is_counter, name.ends_with("_total"), "{name}");
            let base = name.strip_suffix("_total").unwrap_or(name);
            assert!(base.ends_with(metric.unit), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn bucket_bounds_are_increasing() {
        for metric in ALL {
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.is_sorted(), "{}", metric.name);
            }
        }
    }
}
