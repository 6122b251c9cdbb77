//! Every metric name and its help text. No other file holds one.

pub(crate) const REQUESTS: (&str, &str) = (
    "istio_requests_total",
    "Requests by source, destination, response code and flags.",
);
pub(crate) const REQUEST_DURATION: (&str, &str) = (
    "istio_request_duration_milliseconds",
    "Time from a request's arrival to the end of its response.",
);
pub(crate) const REQUEST_BYTES: (&str, &str) = ("istio_request_bytes", "Size of request bodies.");
pub(crate) const RESPONSE_BYTES: (&str, &str) =
    ("istio_response_bytes", "Size of response bodies.");

pub(crate) const INSTANCES: (&str, &str) = (
    "galleria_instances",
    "Instances of a pod's component, by state: idle or busy.",
);
pub(crate) const INSTANCES_STARTED: (&str, &str) = (
    "galleria_instances_started",
    "Instances made since the pod began.",
);
pub(crate) const INSTANCES_RETIRED: (&str, &str) = (
    "galleria_instances_retired",
    "Instances dropped since the pod began.",
);
pub(crate) const QUEUE_DEPTH: (&str, &str) = (
    "galleria_queue_depth",
    "Requests that wait for an instance of a pod.",
);
pub(crate) const MEMORY_BYTES: (&str, &str) = (
    "galleria_memory_bytes",
    "Linear memory of a pod's instances.",
);
pub(crate) const MEMORY_LIMIT_BYTES: (&str, &str) =
    ("galleria_memory_limit_bytes", "A pod's memory limit.");
pub(crate) const CPU_SECONDS: (&str, &str) =
    ("galleria_cpu_seconds_total", "CPU time of a pod's guests.");
pub(crate) const CPU_THROTTLED_PERIODS: (&str, &str) = (
    "galleria_cpu_throttled_periods_total",
    "Periods of 100 ms in which a pod was paused because it had used up its CPU limit.",
);
pub(crate) const CPU_THROTTLED_SECONDS: (&str, &str) = (
    "galleria_cpu_throttled_seconds_total",
    "Time for which a pod was paused because it had used up its CPU limit.",
);
pub(crate) const POD_READY: (&str, &str) = (
    "galleria_pod_ready",
    "Whether a pod is an endpoint: 1 or 0.",
);
pub(crate) const POD_RESTARTS: (&str, &str) =
    ("galleria_pod_restarts", "How often a pod was restarted.");
pub(crate) const GUEST_FAILURES: (&str, &str) = (
    "galleria_guest_failures_total",
    "Requests that failed in a guest, by reason: Error (a trap), OOMKilled, DeadlineExceeded, Overflow, NoResponse, StartError.",
);
pub(crate) const JOB_PODS: (&str, &str) = (
    "galleria_job_pods",
    "Pods of a Job that run now; the Jobs of a CronJob count under its name.",
);
pub(crate) const JOB_PODS_ENDED: (&str, &str) = (
    "galleria_job_pods_ended_total",
    "Runs of a Job's pods that ended, by result: succeeded or failed.",
);
pub(crate) const JOBS_FINISHED: (&str, &str) = (
    "galleria_jobs_finished_total",
    "Jobs that finished, by result: complete or failed.",
);
pub(crate) const PROBES: (&str, &str) = (
    "galleria_probes_total",
    "Probes by kind and result: success or failure.",
);
pub(crate) const RELOADS: (&str, &str) = (
    "galleria_configuration_reloads_total",
    "Changes of the configuration, by result: accepted or rejected.",
);
pub(crate) const SNAPSHOT_AGE: (&str, &str) = (
    "galleria_snapshot_age_seconds",
    "Time since the present snapshot was put in place.",
);
pub(crate) const CONNECTIONS: (&str, &str) = (
    "galleria_connections",
    "Open connections of clients, by listener port.",
);
pub(crate) const LOG_DROPPED: (&str, &str) = (
    "galleria_log_lines_dropped_total",
    "Access log and guest lines dropped because standard output was too slow.",
);
pub(crate) const TRACE_SPANS: (&str, &str) = (
    "galleria_trace_spans_total",
    "Spans by result: exported, failed (the collector did not take them), dropped (too many waited).",
);
pub(crate) const BUILD: (&str, &str) = ("istio_build", "The version that runs.");

/// Envoy's default buckets, for milliseconds and bytes alike, so that Istio's
/// dashboards fit.
pub(crate) const BUCKETS: &[f64] = &[
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
