//! Metrics: Istio's standard ones for every call, and the host's own.
//!
//! The handles of one edge (source, destination, code, flags) are resolved once
//! and then found by identity, so a request looks nothing up by label. What
//! labels can hold is bounded: names come from manifests, codes and flags from
//! fixed sets, and past [`EDGES_MAX`] edges everything else is counted together.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use galleria_mesh::{ResponseFlags, Workload};
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::names;
use super::tally::Tallies;

/// Distinct edges that get labels of their own. A mesh of a hundred services has
/// a few hundred edges, each with a handful of codes.
const EDGES_MAX: usize = 10_000;

const EDGE_LABELS: &[&str] = &[
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

/// The registry and everything in it.
pub(crate) struct Metrics {
    registry: Registry,
    edges: Edges,
    /// For canaries.
    pub tallies: Tallies,
    pub instances: IntGaugeVec,
    pub instances_started: IntGaugeVec,
    pub instances_retired: IntGaugeVec,
    pub queue_depth: IntGaugeVec,
    pub memory: IntGaugeVec,
    pub memory_limit: IntGaugeVec,
    pub cpu_seconds: CounterVec,
    pub cpu_throttled_periods: CounterVec,
    pub cpu_throttled_seconds: CounterVec,
    pub pod_ready: IntGaugeVec,
    pub pod_restarts: IntGaugeVec,
    pub guest_failures: IntCounterVec,
    pub probes: IntCounterVec,
    pub job_pods: IntGaugeVec,
    pub job_pods_ended: IntCounterVec,
    pub jobs_finished: IntCounterVec,
    pub reloads: IntCounterVec,
    pub snapshot_age: IntGauge,
    pub connections: IntGaugeVec,
    pub log_dropped: IntCounter,
    pub trace_spans: IntCounterVec,
}

/// One service's names, as labels have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceNames {
    pub fqdn: String,
    pub name: String,
    pub namespace: String,
}

/// Who called whom. Compared by identity: the same `Arc`s are the same edge.
#[derive(Clone)]
pub(crate) struct Edge {
    /// None: a client outside the mesh.
    pub source: Option<Arc<Workload>>,
    /// None: no endpoint was reached.
    pub destination: Option<Arc<Workload>>,
    /// None: no service was found.
    pub service: Option<Arc<ServiceNames>>,
    pub seen: Seen,
}

/// Which ends of a call are in this host: each host reports for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    Both,
    /// The destination is a pod of another host.
    Source,
    /// The call was handed over by another host.
    Destination,
}

/// How one call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallRecord {
    /// 0 where the client went away before a response.
    pub code: u16,
    pub flags: ResponseFlags,
    pub duration: Duration,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

struct Edges {
    requests: IntCounterVec,
    duration: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
    resolved: RwLock<HashMap<EdgeKey, Arc<EdgeHandles>>>,
}

type EdgeKey = (usize, usize, usize, Seen, u16, ResponseFlags);

struct EdgeHandles {
    reporters: Vec<ReporterHandles>,
    /// Keeps the identities in the key from being reused.
    _edge: Edge,
}

struct ReporterHandles {
    requests: IntCounter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let pod = &["namespace", "workload", "pod"];
        let build = gauges(&registry, names::BUILD, &["component", "tag"]);
        build
            .with_label_values(&["galleria", env!("CARGO_PKG_VERSION")])
            .set(1);
        // Both begin at zero: the first rejected change is an increase, too.
        let reloads = counters(&registry, names::RELOADS, &["result"]);
        for result in ["accepted", "rejected"] {
            reloads.with_label_values(&[result]);
        }
        Self {
            edges: Edges {
                requests: counters(&registry, names::REQUESTS, EDGE_LABELS),
                duration: histograms(&registry, names::REQUEST_DURATION),
                request_bytes: histograms(&registry, names::REQUEST_BYTES),
                response_bytes: histograms(&registry, names::RESPONSE_BYTES),
                resolved: RwLock::default(),
            },
            tallies: Tallies::default(),
            instances: gauges(
                &registry,
                names::INSTANCES,
                &["namespace", "workload", "pod", "state"],
            ),
            instances_started: gauges(&registry, names::INSTANCES_STARTED, pod),
            instances_retired: gauges(&registry, names::INSTANCES_RETIRED, pod),
            queue_depth: gauges(&registry, names::QUEUE_DEPTH, pod),
            memory: gauges(&registry, names::MEMORY_BYTES, pod),
            memory_limit: gauges(&registry, names::MEMORY_LIMIT_BYTES, pod),
            cpu_seconds: totals(&registry, names::CPU_SECONDS, pod),
            cpu_throttled_periods: totals(&registry, names::CPU_THROTTLED_PERIODS, pod),
            cpu_throttled_seconds: totals(&registry, names::CPU_THROTTLED_SECONDS, pod),
            pod_ready: gauges(&registry, names::POD_READY, pod),
            pod_restarts: gauges(&registry, names::POD_RESTARTS, pod),
            guest_failures: counters(
                &registry,
                names::GUEST_FAILURES,
                &["namespace", "workload", "pod", "reason"],
            ),
            probes: counters(
                &registry,
                names::PROBES,
                &["namespace", "workload", "pod", "probe", "result"],
            ),
            job_pods: gauges(&registry, names::JOB_PODS, &["namespace", "job_name"]),
            job_pods_ended: counters(
                &registry,
                names::JOB_PODS_ENDED,
                &["namespace", "job_name", "result"],
            ),
            jobs_finished: counters(
                &registry,
                names::JOBS_FINISHED,
                &["namespace", "job_name", "result"],
            ),
            reloads,
            snapshot_age: registered(
                &registry,
                IntGauge::new(names::SNAPSHOT_AGE.0, names::SNAPSHOT_AGE.1),
            ),
            connections: gauges(&registry, names::CONNECTIONS, &["port"]),
            trace_spans: counters(&registry, names::TRACE_SPANS, &["result"]),
            log_dropped: registered(
                &registry,
                IntCounter::new(names::LOG_DROPPED.0, names::LOG_DROPPED.1),
            ),
            registry,
        }
    }

    /// Counts one call, as its source and as its destination saw it.
    pub(crate) fn record(&self, edge: &Edge, call: &CallRecord) {
        for reporter in &self.edges.handles(edge, call).reporters {
            reporter.requests.inc();
            reporter
                .duration
                .observe(call.duration.as_secs_f64() * 1000.0);
            reporter.request_bytes.observe(call.request_bytes as f64);
            reporter.response_bytes.observe(call.response_bytes as f64);
        }
    }

    /// Forgets a pod that is gone, so that its series end.
    pub(crate) fn forget_pod(&self, namespace: &str, workload: &str, pod: &str) {
        let labels = &[namespace, workload, pod];
        for gauge in [
            &self.instances_started,
            &self.instances_retired,
            &self.queue_depth,
            &self.memory,
            &self.memory_limit,
            &self.pod_ready,
            &self.pod_restarts,
        ] {
            // Absent is as good as removed.
            let _ = gauge.remove_label_values(labels);
        }
        for sum in [
            &self.cpu_seconds,
            &self.cpu_throttled_periods,
            &self.cpu_throttled_seconds,
        ] {
            let _ = sum.remove_label_values(labels);
        }
        for state in ["idle", "busy"] {
            let _ = self
                .instances
                .remove_label_values(&[namespace, workload, pod, state]);
        }
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Edges {
    fn handles(&self, edge: &Edge, call: &CallRecord) -> Arc<EdgeHandles> {
        let key = (
            identity(edge.source.as_ref()),
            identity(edge.destination.as_ref()),
            identity(edge.service.as_ref()),
            edge.seen,
            call.code,
            call.flags,
        );
        let known = self
            .resolved
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(handles) = known {
            return handles;
        }
        let mut resolved = self
            .resolved
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if resolved.len() >= EDGES_MAX {
            let other = Edge {
                source: None,
                destination: None,
                service: None,
                seen: edge.seen,
            };
            return Arc::new(self.resolve(&other, call));
        }
        resolved
            .entry(key)
            .or_insert_with(|| Arc::new(self.resolve(edge, call)))
            .clone()
    }

    /// Requests that reached no endpoint are known to their source alone.
    fn resolve(&self, edge: &Edge, call: &CallRecord) -> EdgeHandles {
        let reporters: &[&str] = match edge.seen {
            Seen::Both if edge.destination.is_some() => &["source", "destination"],
            Seen::Both | Seen::Source => &["source"],
            Seen::Destination => &["destination"],
        };
        let reporters = reporters
            .iter()
            .map(|reporter| {
                let values = labels(reporter, edge, call);
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                ReporterHandles {
                    requests: self.requests.with_label_values(&values),
                    duration: self.duration.with_label_values(&values),
                    request_bytes: self.request_bytes.with_label_values(&values),
                    response_bytes: self.response_bytes.with_label_values(&values),
                }
            })
            .collect();
        EdgeHandles {
            reporters,
            _edge: edge.clone(),
        }
    }
}

/// Brings a counter up to a sum that is kept elsewhere and only grows.
pub(crate) fn raise(counter: &Counter, sum: f64) {
    let missing = sum - counter.get();
    if missing > 0.0 {
        counter.inc_by(missing);
    }
}

fn identity<T>(shared: Option<&Arc<T>>) -> usize {
    shared.map_or(0, |shared| Arc::as_ptr(shared) as usize)
}

/// The values of [`EDGE_LABELS`], in order.
fn labels(reporter: &str, edge: &Edge, call: &CallRecord) -> Vec<String> {
    let unknown = || "unknown".to_owned();
    let workload = |workload: Option<&Arc<Workload>>| match workload {
        Some(workload) => [
            workload.name.clone(),
            workload.namespace.clone(),
            principal(workload),
            workload.app.clone(),
            workload.version.clone(),
            workload.canonical_service.clone(),
            workload.canonical_revision.clone(),
            "Kubernetes".to_owned(),
        ],
        None => std::array::from_fn(|_| unknown()),
    };
    let [ref service, ref name, ref namespace] = match &edge.service {
        Some(service) => [
            service.fqdn.clone(),
            service.name.clone(),
            service.namespace.clone(),
        ],
        None => std::array::from_fn(|_| unknown()),
    };
    let mut values = vec![reporter.to_owned()];
    values.extend(workload(edge.source.as_ref()));
    let [
        workload_name,
        workload_namespace,
        principal,
        app,
        version,
        canonical,
        revision,
        cluster,
    ] = workload(edge.destination.as_ref());
    values.extend([workload_name, workload_namespace, principal, app, version]);
    values.extend([service.clone(), name.clone(), namespace.clone()]);
    values.extend([canonical, revision, cluster]);
    values.push("http".to_owned());
    values.push(call.code.to_string());
    values.push(call.flags.to_string());
    values.push(match (reporter, &edge.source) {
        ("source", _) => unknown(),
        (_, Some(_)) => "mutual_tls".to_owned(),
        (_, None) => "none".to_owned(),
    });
    values
}

/// The SPIFFE identity, as Istio's metrics have it.
fn principal(workload: &Workload) -> String {
    let (namespace, account) = (&workload.namespace, &workload.service_account);
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")
}

fn counters(registry: &Registry, (name, help): (&str, &str), labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// Counters of something that is summed up elsewhere; see [`raise`].
fn totals(registry: &Registry, (name, help): (&str, &str), labels: &[&str]) -> CounterVec {
    registered(registry, CounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, (name, help): (&str, &str), labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(registry: &Registry, (name, help): (&str, &str)) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(names::BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, EDGE_LABELS))
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("names and labels are constants of this crate");
    registry
        .register(Box::new(metric.clone()))
        .expect("every name is registered once");
    metric
}
