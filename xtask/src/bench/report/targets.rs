//! The targets. A ratio of two rows applies to every machine; an absolute bound was chosen
//! for the machines of continuous integration, which have two cores.

use super::Report;
use super::format::spread;
use super::model::Metric;
use crate::bench::{
    density, fairness, handshakes, hello, memory, overload, product, reload, security, shop,
    telemetry, writes,
};

use Bound::{AtLeast, AtMost};
use Metric::{
    ContextSwitchesPerRequest, CpuMicrosecondsPerRequest, Errors, IdleMebibytes, LoadedMebibytes,
    LostWrites, P50Milliseconds, P99Milliseconds, ReadyMilliseconds, RequestsPerSecond,
    ThreadsBeyondCores,
};

/// A bound for a metric of a row, or for its ratio to the same metric of another row.
struct Target {
    table: &'static str,
    metric: Metric,
    row: &'static str,
    against: Option<&'static str>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A target for which there are results.
pub(super) struct Verdict {
    /// The title of its table.
    pub(super) title: String,
    pub(super) what: String,
    pub(super) wanted: String,
    pub(super) result: String,
    pub(super) met: bool,
}

// A table: one line each.
#[rustfmt::skip]
const TARGETS: &[Target] = &[
    ratio(hello::BUSY, RequestsPerSecond, hello::GALLERIA, hello::REUSED, AtLeast(1.5)),
    ratio(hello::BUSY, RequestsPerSecond, hello::GALLERIA, hello::NATIVE, AtLeast(0.6)),
    ratio(hello::BUSY, RequestsPerSecond, hello::FRESH, hello::DEFAULT, AtLeast(2.5)),
    ratio(hello::ALONE, CpuMicrosecondsPerRequest, hello::P3, hello::GALLERIA, AtMost(1.5)),
    ratio(hello::BUSY, CpuMicrosecondsPerRequest, hello::P3, hello::GALLERIA, AtMost(1.5)),
    ratio(product::ALONE, P50Milliseconds, product::GALLERIA, product::NATIVE, AtMost(0.8)),
    ratio(product::BUSY, CpuMicrosecondsPerRequest, product::GALLERIA, product::NATIVE, AtMost(1.0)),
    ratio(product::BUSY, RequestsPerSecond, product::GALLERIA, product::NATIVE, AtLeast(1.0)),
    ratio(product::BUSY, RequestsPerSecond, product::GALLERIA, product::ENVOY, AtLeast(8.0)),
    ratio(product::BUSY, P99Milliseconds, product::GALLERIA, product::NATIVE, AtMost(1.5)),
    value(product::BUSY, ContextSwitchesPerRequest, product::GALLERIA, AtMost(3.0)),
    value(memory::TABLE, LoadedMebibytes, product::GALLERIA, AtMost(160.0)),
    value(memory::TABLE, ThreadsBeyondCores, product::GALLERIA, AtMost(16.0)),
    ratio(overload::TABLE, RequestsPerSecond, overload::FLOOD, overload::PEAK, AtLeast(0.9)),
    ratio(overload::TABLE, RequestsPerSecond, overload::AFTER, overload::PEAK, AtLeast(0.9)),
    value(overload::TABLE, Errors, overload::FLOOD, AtMost(0.0)),
    value(reload::TABLE, Errors, reload::CHANGING, AtMost(0.0)),
    value(density::TABLE, ReadyMilliseconds, density::LARGEST, AtMost(1500.0)),
    value(density::TABLE, LoadedMebibytes, density::LARGEST, AtMost(400.0)),
    ratio(writes::TABLE, RequestsPerSecond, writes::TOGETHER, writes::ALONE, AtLeast(5.0)),
    value(writes::TABLE, LostWrites, writes::TOGETHER, AtMost(0.0)),
    ratio(security::TOGETHER, CpuMicrosecondsPerRequest, security::SECURED, security::OPEN, AtMost(1.05)),
    ratio(security::APART, CpuMicrosecondsPerRequest, security::SECURED_HOSTS, security::OPEN_HOSTS, AtMost(1.15)),
    ratio(handshakes::FULL, RequestsPerSecond, handshakes::GALLERIA, handshakes::ENVOY, AtLeast(0.9)),
    ratio(handshakes::RESUMED, RequestsPerSecond, handshakes::GALLERIA, handshakes::ENVOY, AtLeast(0.9)),
    value(shop::TABLE, IdleMebibytes, product::GALLERIA, AtMost(80.0)),
    value(shop::TABLE, ReadyMilliseconds, product::GALLERIA, AtMost(100.0)),
    ratio(fairness::TABLE, P99Milliseconds, fairness::LIMITED, fairness::LIMITED_IDLE, AtMost(1.5)),
    ratio(telemetry::HELLO, RequestsPerSecond, telemetry::ON, telemetry::OFF, AtLeast(0.9)),
    ratio(telemetry::PRODUCT, RequestsPerSecond, telemetry::ON, telemetry::OFF, AtLeast(0.9)),
];

const fn value(table: &'static str, metric: Metric, row: &'static str, bound: Bound) -> Target {
    Target {
        table,
        metric,
        row,
        against: None,
        bound,
    }
}

const fn ratio(
    table: &'static str,
    metric: Metric,
    row: &'static str,
    against: &'static str,
    bound: Bound,
) -> Target {
    Target {
        against: Some(against),
        ..value(table, metric, row, bound)
    }
}

/// The targets whose rows were measured.
pub(super) fn verdicts(report: &Report) -> Vec<Verdict> {
    TARGETS
        .iter()
        .filter_map(|target| target.verdict(report))
        .collect()
}

impl Target {
    fn verdict(&self, report: &Report) -> Option<Verdict> {
        let table = report.table(self.table)?;
        let row = table.row(self.row)?;
        let (what, got, unit) = match self.against {
            None => (String::new(), row.spread(self.metric)?, ""),
            Some(other) => (
                format!(", against {other}"),
                row.ratio(table.row(other)?, self.metric)?,
                " ×",
            ),
        };
        let (sign, limit, met) = match self.bound {
            AtMost(limit) => ('≤', limit, got.median <= limit),
            AtLeast(limit) => ('≥', limit, got.median >= limit),
        };
        Some(Verdict {
            title: table.title.clone(),
            what: format!("{}: {}{what}", self.metric.label(), self.row),
            wanted: format!("{sign} {limit}{unit}"),
            result: spread(got, unit),
            met,
        })
    }
}
