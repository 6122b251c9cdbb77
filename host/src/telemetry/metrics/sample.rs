//! Values that are read at scrape time.

use std::collections::BTreeMap;

use prometheus::Histogram;
use prometheus::core::Metric as _;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};

use crate::telemetry::names::{self, Kind, Metric};

/// The metrics that are read at scrape time.
pub(super) static SAMPLED: &[&Metric] = &[
    &names::BUILD,
    &names::RETRIES,
    &names::BREAKER_ACTIVE,
    &names::BREAKER_PENDING,
    &names::BREAKER_OPEN,
    &names::BREAKER_OVERFLOWS,
    &names::EJECTED_ENDPOINTS,
    &names::EJECTIONS,
    &names::FAULTS,
    &names::MIRRORED,
    &names::INSTANCES,
    &names::INSTANCES_STARTED,
    &names::INSTANCES_RETIRED,
    &names::INSTANCE_START,
    &names::QUEUE_DEPTH,
    &names::QUEUE_WAIT,
    &names::MEMORY_BYTES,
    &names::MEMORY_LIMIT_BYTES,
    &names::CPU_SECONDS,
    &names::CPU_THROTTLED_PERIODS,
    &names::CPU_THROTTLED_SECONDS,
    &names::POD_READY,
    &names::POD_RESTARTS,
    &names::GUEST_FAILURES,
    &names::PROBES,
    &names::SQL_CONNECTIONS,
    &names::SQL_STATEMENT,
    &names::CONNECTIONS,
    &names::CONNECTIONS_ACCEPTED,
    &names::CONNECTIONS_CLOSED,
    &names::RECEIVED_BYTES,
    &names::SENT_BYTES,
    &names::SNAPSHOT_AGE,
    &names::CERTIFICATE_EXPIRY,
    &names::CERTIFICATES_ISSUED,
    &names::TRUSTED_ROOTS,
];

/// The values that were read, by metric.
pub(crate) struct Samples(BTreeMap<&'static str, (&'static Metric, Vec<Sample>)>);

impl Samples {
    pub(crate) fn new() -> Self {
        let sampled = SAMPLED.iter().copied();
        Self(sampled.map(|it| (it.name, (it, Vec::new()))).collect())
    }

    /// Sets the value of a counter or a gauge.
    pub(crate) fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut sample = Sample::from_label(pairs(metric, labels));
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram(_) => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        self.add(metric, sample);
    }

    /// Sets a value that is an integer.
    pub(crate) fn count(&mut self, metric: &'static Metric, labels: &[&str], count: u64) {
        self.set(metric, labels, count as f64);
    }

    pub(crate) fn observed(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        histogram: &Histogram,
    ) {
        let mut sample = Sample::from_label(pairs(metric, labels));
        sample.set_histogram(histogram.metric().get_histogram().clone());
        self.add(metric, sample);
    }

    fn add(&mut self, metric: &'static Metric, sample: Sample) {
        if let Some((_, samples)) = self.0.get_mut(metric.name) {
            samples.push(sample);
        }
    }

    pub(super) fn families(self) -> impl Iterator<Item = MetricFamily> {
        let some = self.0.into_values().filter(|(_, it)| !it.is_empty());
        some.map(|(metric, samples)| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram(_) => MetricType::HISTOGRAM,
            });
            family.set_metric(samples);
            family
        })
    }
}

fn pairs(metric: &Metric, values: &[&str]) -> Vec<LabelPair> {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn samples_are_written_under_their_names() {
        let mut samples = Samples::new();
        samples.count(&names::CONNECTIONS_ACCEPTED, &["80"], 3);
        samples.set(&names::SNAPSHOT_AGE, &[], 1.5);
        let families: Vec<_> = samples.families().collect();
        let text = TextEncoder::new().encode_to_string(&families);
        let text = text.expect("metrics");
        assert!(
            text.contains("galleria_connections_accepted_total{port=\"80\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE galleria_snapshot_age_seconds gauge"),
            "{text}"
        );
    }
}
