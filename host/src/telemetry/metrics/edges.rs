//! Calls by caller, destination and result: Istio's standard metrics.
//!
//! The handles of one edge (source, destination, code, flags) are resolved once and then
//! found by identity. Beyond [`EDGES_MAX`] edges, all others are counted together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use galleria_mesh::{ResponseFlags, Workload};
use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::Present;
use super::exemplar::{Exemplar, Exemplars};
use super::register::Register;
use crate::telemetry::names::{self, EDGE_LABELS, ENVOY_BUCKETS};

/// Distinct edges that get their own labels. A mesh of a hundred services has a few
/// hundred edges, each with a handful of codes.
const EDGES_MAX: usize = 10_000;

/// Caller and destination. Compared by identity: the same `Arc`s are the same edge.
#[derive(Clone)]
pub(crate) struct CallEdge {
    /// `None` for a client outside the mesh.
    pub source: Option<Arc<Workload>>,
    /// `None` if no endpoint was reached.
    pub destination: Option<Arc<Workload>>,
    /// `None` if no service was found.
    pub service: Option<Arc<ServiceNames>>,
    pub reporter: Reporter,
    /// Whether the destination knows by mutual TLS, or as attested by this host, who calls.
    pub is_mutual_tls: bool,
}

/// The names of a service, as they appear in labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceNames {
    pub fqdn: String,
    pub name: String,
    pub namespace: String,
}

/// Which ends of a call are in this host: each host reports its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reporter {
    Both,
    /// The destination is a pod of another host.
    Source,
    /// The call was forwarded by another host.
    Destination,
}

/// How one call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallRecord {
    /// 0 if the client disconnected before there was a response.
    pub code: u16,
    pub flags: ResponseFlags,
    pub duration: Duration,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Set if the trace of the call is sampled.
    pub trace_id: Option<u128>,
}

pub(super) struct Edges {
    requests: IntCounterVec,
    duration: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
    known: RwLock<SeriesIndex>,
}

#[derive(Default)]
struct SeriesIndex {
    /// By identity, which is stable because the key keeps the edge alive.
    resolved: HashMap<EdgeKey, (CallEdge, Arc<Series>)>,
    /// By the values of their labels.
    series: HashMap<(Reporter, Vec<String>), Arc<Series>>,
}

type EdgeKey = (usize, usize, usize, Reporter, bool, u16, ResponseFlags);

/// The metrics of one edge.
struct Series {
    edge: CallEdge,
    reporters: Vec<ReporterSeries>,
    durations: Exemplars,
}

struct ReporterSeries {
    labels: Vec<String>,
    requests: IntCounter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

impl CallEdge {
    /// The edge that counts calls beyond the limit.
    fn other(reporter: Reporter) -> Self {
        Self {
            source: None,
            destination: None,
            service: None,
            reporter,
            is_mutual_tls: false,
        }
    }

    /// Whether the decision was made in this host.
    pub(super) fn source_decides(&self) -> bool {
        self.reporter != Reporter::Destination
    }
}

impl Edges {
    pub(super) fn new(register: &mut Register) -> Self {
        Self {
            requests: register.counters(&names::REQUESTS),
            duration: register.histograms(&names::REQUEST_DURATION),
            request_bytes: register.histograms(&names::REQUEST_BYTES),
            response_bytes: register.histograms(&names::RESPONSE_BYTES),
            known: RwLock::default(),
        }
    }

    pub(super) fn record(&self, edge: &CallEdge, call: &CallRecord) {
        let series = self.series(edge, call);
        let duration = call.duration.as_secs_f64() * 1000.0;
        for reporter in &series.reporters {
            reporter.requests.inc();
            reporter.duration.observe(duration);
            reporter.request_bytes.observe(call.request_bytes as f64);
            reporter.response_bytes.observe(call.response_bytes as f64);
        }
        if let Some(trace_id) = call.trace_id {
            series.durations.record(ENVOY_BUCKETS, trace_id, duration);
        }
    }

    /// Edges of an earlier snapshot are resolved again when they occur again.
    pub(super) fn follow(&self, present: &Present<'_>) {
        let mut known = self.known.write();
        known.resolved.clear();
        known.series.retain(|_, series| {
            let kept = present.has_edge(&series.edge);
            if !kept {
                self.remove(series);
            }
            kept
        });
    }

    /// The exemplars of durations, by [`exemplar_key`].
    pub(super) fn exemplars(&self) -> HashMap<String, Box<[Option<Exemplar>]>> {
        let known = self.known.read();
        let exemplars = known.series.values().flat_map(|series| {
            let exemplars = series.durations.snapshot();
            let reporters = series.reporters.iter().filter(|_| !exemplars.is_empty());
            let keys = reporters.map(|it| exemplar_key(&it.labels));
            keys.map(|key| (key, exemplars.clone())).collect::<Vec<_>>()
        });
        exemplars.collect()
    }

    fn series(&self, edge: &CallEdge, call: &CallRecord) -> Arc<Series> {
        let key = (
            identity(edge.source.as_ref()),
            identity(edge.destination.as_ref()),
            identity(edge.service.as_ref()),
            edge.reporter,
            edge.is_mutual_tls,
            call.code,
            call.flags,
        );
        let known = self.known.read();
        if let Some((_, series)) = known.resolved.get(&key) {
            return series.clone();
        }
        drop(known);
        let mut known = self.known.write();
        let series = self.resolve(&mut known, edge, call);
        if known.resolved.len() < 2 * EDGES_MAX {
            known.resolved.insert(key, (edge.clone(), series.clone()));
        }
        series
    }

    fn resolve(&self, known: &mut SeriesIndex, edge: &CallEdge, call: &CallRecord) -> Arc<Series> {
        let value = (edge.reporter, labels("", edge, call));
        if let Some(series) = known.series.get(&value) {
            return series.clone();
        }
        if known.series.len() < EDGES_MAX {
            let series = Arc::new(self.begin(edge, call));
            known.series.insert(value, series.clone());
            return series;
        }
        let other = CallEdge::other(edge.reporter);
        let value = (edge.reporter, labels("", &other, call));
        let series = known.series.entry(value);
        series
            .or_insert_with(|| Arc::new(self.begin(&other, call)))
            .clone()
    }

    /// Only the source knows about requests that reached no endpoint.
    fn begin(&self, edge: &CallEdge, call: &CallRecord) -> Series {
        let reporters: &[&str] = match edge.reporter {
            Reporter::Both if edge.destination.is_some() => &["source", "destination"],
            Reporter::Both | Reporter::Source => &["source"],
            Reporter::Destination => &["destination"],
        };
        let reporters = reporters.iter().map(|reporter| {
            let labels = labels(reporter, edge, call);
            ReporterSeries {
                requests: self.requests.with_label_values(&labels),
                duration: self.duration.with_label_values(&labels),
                request_bytes: self.request_bytes.with_label_values(&labels),
                response_bytes: self.response_bytes.with_label_values(&labels),
                labels,
            }
        });
        Series {
            edge: edge.clone(),
            reporters: reporters.collect(),
            durations: Exemplars::default(),
        }
    }

    fn remove(&self, series: &Series) {
        for ReporterSeries { labels, .. } in &series.reporters {
            // It does not matter if the series is absent.
            let _ = self.requests.remove_label_values(labels);
            for histograms in [&self.duration, &self.request_bytes, &self.response_bytes] {
                let _ = histograms.remove_label_values(labels);
            }
        }
    }
}

fn identity<T>(shared: Option<&Arc<T>>) -> usize {
    shared.map_or(0, |shared| Arc::as_ptr(shared) as usize)
}

/// The values of labels in the form in which [`super::open_metrics`] looks them up: in
/// the order of the labels' names.
fn exemplar_key(values: &[String]) -> String {
    let mut pairs: Vec<_> = EDGE_LABELS.iter().zip(values).collect();
    pairs.sort();
    let values = pairs.into_iter().map(|(_, value)| value.as_str());
    values.collect::<Vec<_>>().join("\0")
}

/// The values of [`EDGE_LABELS`], in order.
fn labels(reporter: &str, edge: &CallEdge, call: &CallRecord) -> Vec<String> {
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
    values.push(match (reporter, edge.is_mutual_tls) {
        ("source", _) => unknown(),
        (_, true) => "mutual_tls".to_owned(),
        (_, false) => "none".to_owned(),
    });
    values
}

/// The SPIFFE identity, in the form that Istio's metrics use.
fn principal(workload: &Workload) -> String {
    let (namespace, account) = (&workload.namespace, &workload.service_account);
    let trust_domain = &workload.trust_domain;
    format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(code: u16) -> CallRecord {
        CallRecord {
            code,
            flags: ResponseFlags::NONE,
            duration: Duration::from_millis(3),
            request_bytes: 0,
            response_bytes: 10,
            trace_id: Some(7),
        }
    }

    fn workload(name: &str) -> Arc<Workload> {
        Arc::new(Workload::new("shop", name, "default", Default::default()))
    }

    fn called(destination: &Arc<Workload>) -> CallEdge {
        CallEdge {
            destination: Some(destination.clone()),
            ..CallEdge::other(Reporter::Both)
        }
    }

    #[test]
    fn edges_with_equal_names_count_together() {
        let edges = Edges::new(&mut Register::default());
        for _ in 0..3 {
            edges.record(&called(&workload("ui")), &call(200));
        }
        let known = edges.known.read();
        let [series] = known.series.values().collect::<Vec<_>>()[..] else {
            unreachable!("one edge");
        };
        assert_eq!(series.reporters.len(), 2);
        assert_eq!(series.reporters[0].requests.get(), 3);
    }

    #[test]
    fn edges_beyond_the_limit_count_together() {
        let edges = Edges::new(&mut Register::default());
        for number in 0..EDGES_MAX + 100 {
            edges.record(&called(&workload(&format!("w{number}"))), &call(200));
        }
        let known = edges.known.read();
        assert_eq!(known.series.len(), EDGES_MAX + 1);
        let other = known
            .series
            .values()
            .find(|it| it.edge.destination.is_none());
        assert_eq!(other.expect("the rest").reporters[0].requests.get(), 100);
    }

    #[test]
    fn sampled_call_is_an_exemplar_of_both_reporters() {
        let edges = Edges::new(&mut Register::default());
        edges.record(&called(&workload("ui")), &call(200));
        let exemplars = edges.exemplars();
        assert_eq!(exemplars.len(), 2);
        for exemplars in exemplars.values() {
            let exemplars: Vec<_> = exemplars.iter().flatten().map(|it| it.trace_id).collect();
            assert_eq!(exemplars, [7]);
        }
    }
}
