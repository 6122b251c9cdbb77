//! Registers the metrics of the catalogue.

use prometheus::core::Collector;
use prometheus::{Histogram, Registry};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use crate::telemetry::names::{Kind, Metric};

/// A registry and the registered metrics of the catalogue.
#[derive(Default)]
pub(super) struct Register {
    registry: Registry,
    metrics: Vec<&'static Metric>,
}

impl Register {
    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.metrics.iter().map(|metric| metric.name)
    }

    pub(super) fn counters(&mut self, metric: &'static Metric) -> IntCounterVec {
        let made = IntCounterVec::new(options(metric), metric.labels);
        self.add(metric, made)
    }

    /// For a metric without labels.
    pub(super) fn counter(&mut self, metric: &'static Metric) -> IntCounter {
        let none: &[&str] = &[];
        self.counters(metric).with_label_values(none)
    }

    pub(super) fn gauges(&mut self, metric: &'static Metric) -> IntGaugeVec {
        let made = IntGaugeVec::new(options(metric), metric.labels);
        self.add(metric, made)
    }

    pub(super) fn histograms(&mut self, metric: &'static Metric) -> HistogramVec {
        let made = HistogramVec::new(buckets(metric), metric.labels);
        self.add(metric, made)
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        metric: &'static Metric,
        made: prometheus::Result<C>,
    ) -> C {
        let made = made.expect("names and labels are constants of this crate");
        self.registry
            .register(Box::new(made.clone()))
            .expect("every name is registered once");
        self.metrics.push(metric);
        made
    }
}

/// A histogram outside the registry: its labels are set when it is sampled.
pub(super) fn histogram(metric: &'static Metric) -> Histogram {
    Histogram::with_opts(buckets(metric)).expect("buckets are constants of this crate")
}

fn options(metric: &Metric) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn buckets(metric: &Metric) -> HistogramOpts {
    let bounds = match metric.kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter | Kind::Gauge => &[],
    };
    HistogramOpts::new(metric.name, metric.help).buckets(bounds.to_vec())
}
