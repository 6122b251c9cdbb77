//! Metrics: Istio's standard metrics for every call, and the host's own.
//!
//! Events of a call are counted with handles that are resolved in advance and found by
//! identity, so that a request looks up nothing by label. Values that are available
//! elsewhere are read at scrape time ([`Samples`]), so a series ends together with the
//! object that it describes. The values of labels are bounded: names come from manifests,
//! and methods, codes and flags from fixed sets.

mod decisions;
mod dry_run;
mod edges;
mod exemplar;
mod open_metrics;
mod pod;
mod port;
mod present;
mod register;
mod routes;
mod sample;
mod sql;
mod tcp;

pub(crate) use decisions::{DecisionKind, DecisionResult, Decisions, KeyFetches};
pub(crate) use dry_run::DryRuns;
pub(crate) use edges::{CallEdge, CallRecord, Reporter, ServiceNames};
pub(crate) use pod::{PodMeters, RetirementReason};
pub(crate) use port::{CloseReason, PortMeters, Ports};
pub(crate) use present::Present;
pub(crate) use routes::{MethodClass, Routes};
pub(crate) use sample::Samples;
pub(crate) use sql::{StatementMeters, Statements};
pub(crate) use tcp::{ConnectionSeries, Connections};

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use self::edges::Edges;
use self::register::Register;
use super::names;
use super::tally::Tallies;

/// The registry and its metrics.
pub(crate) struct Metrics {
    registry: Registry,
    edges: Edges,
    pub routes: Routes,
    pub ports: Ports,
    pub connections: Connections,
    pub dry_runs: DryRuns,
    pub decisions: Decisions,
    pub key_fetches: KeyFetches,
    pub peer_refusals: IntCounterVec,
    /// Counts for canaries.
    pub tallies: Tallies,
    pub job_pods: IntGaugeVec,
    pub job_pods_ended: IntCounterVec,
    pub jobs_finished: IntCounterVec,
    pub reloads: IntCounterVec,
    pub component_loads: ComponentLoads,
    pub log_dropped: IntCounter,
    pub audit_dropped: IntCounter,
    pub trace_spans: IntCounterVec,
    pub trace_headers_ignored: IntCounter,
}

/// Components that were loaded.
#[derive(Clone)]
pub(crate) struct ComponentLoads {
    pub cached: IntCounter,
    pub compiled: IntCounter,
}

/// The exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::registered(&mut Register::default())
    }

    fn registered(register: &mut Register) -> Self {
        let loads = register.counters(&names::COMPONENT_LOADS);
        // All start at zero, so that the first event is an increase.
        let reloads = register.counters(&names::RELOADS);
        for result in ["accepted", "rejected"] {
            reloads.with_label_values(&[result]);
        }
        Self {
            edges: Edges::new(register),
            routes: Routes::new(register),
            ports: Ports::default(),
            connections: Connections::new(register),
            dry_runs: DryRuns::new(register),
            decisions: Decisions::new(register),
            key_fetches: KeyFetches::new(register),
            peer_refusals: register.counters(&names::PEER_REFUSALS),
            tallies: Tallies::default(),
            job_pods: register.gauges(&names::JOB_PODS),
            job_pods_ended: register.counters(&names::JOB_PODS_ENDED),
            jobs_finished: register.counters(&names::JOBS_FINISHED),
            reloads,
            component_loads: ComponentLoads {
                cached: loads.with_label_values(&["cached"]),
                compiled: loads.with_label_values(&["compiled"]),
            },
            log_dropped: register.counter(&names::LOG_DROPPED),
            audit_dropped: register.counter(&names::AUDIT_DROPPED),
            trace_spans: register.counters(&names::TRACE_SPANS),
            trace_headers_ignored: register.counter(&names::TRACE_HEADERS_IGNORED),
            registry: register.registry(),
        }
    }

    /// Counts one call, from the point of view of its source and its destination in this
    /// host.
    pub(crate) fn record(&self, edge: &CallEdge, call: &CallRecord) {
        self.edges.record(edge, call);
    }

    /// Removes the series of objects that no longer exist.
    pub(crate) fn follow(&self, present: &Present<'_>) {
        self.edges.follow(present);
        self.routes.follow(present);
        self.connections.follow(present);
    }

    /// All metrics, including `samples`.
    pub(crate) fn render(&self, samples: Samples, format: Format) -> String {
        let mut families = self.registry.gather();
        families.extend(samples.families());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        match format {
            Format::OpenMetrics => open_metrics::encode(&families, &self.edges.exemplars()),
            Format::Text => {
                let text = TextEncoder::new().encode_to_string(&families);
                text.unwrap_or_else(|error| {
                    tracing::error!(%error, "cannot render metrics");
                    String::new()
                })
            }
        }
    }
}

impl Format {
    /// The format for a scraper that sends this `accept` header.
    pub(crate) fn accepted(accept: &str) -> Self {
        let quality = |kind: &str| {
            let of = |range: &str| {
                let mut parts = range.split(';').map(str::trim);
                (parts.next()?.eq_ignore_ascii_case(kind)).then(|| {
                    let quality = parts.find_map(|part| part.strip_prefix("q="));
                    quality.and_then(|it| it.parse().ok()).unwrap_or(1.0)
                })
            };
            accept.split(',').filter_map(of).fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        match open > 0.0 && open >= quality("text/plain") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn registered_and_sampled_metrics_match_the_catalogue() {
        let mut register = Register::default();
        Metrics::registered(&mut register);
        let registered: BTreeSet<_> = register.names().collect();
        let sampled: BTreeSet<_> = sample::SAMPLED.iter().map(|it| it.name).collect();
        assert!(registered.is_disjoint(&sampled));
        let known: BTreeSet<_> = registered.union(&sampled).copied().collect();
        let catalogue: BTreeSet<_> = names::ALL.iter().map(|it| it.name).collect();
        assert_eq!(known, catalogue);
    }

    #[test]
    fn scraper_gets_the_format_that_it_prefers() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.2,text/plain;q=0.9",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0", Format::Text),
            (
                "application/openmetrics-text;q=nonsense",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
