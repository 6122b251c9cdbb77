//! What a benchmark measures: tables of named rows, each with a sample per round. This is
//! also the format of `loadtest/results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A measured quantity. Its name in JSON contains the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// All requests with a response.
    Requests,
    RequestsPerSecond,
    /// CPU time of all server processes, in user and kernel mode.
    CpuMicrosecondsPerRequest,
    /// Voluntary and involuntary ones, of all threads of all server processes.
    ContextSwitchesPerRequest,
    P50Milliseconds,
    P99Milliseconds,
    P999Milliseconds,
    /// Resident memory of all server processes before the first request.
    IdleMebibytes,
    /// The same when the load ends.
    LoadedMebibytes,
    /// The most threads that the server processes had during the load.
    Threads,
    ThreadsBeyondCores,
    /// How many cores the load generator used. It has one thread, so a value near 1 means
    /// that the throughput is the generator's, not the server's.
    GeneratorCores,
    /// Responses that are not expected, and failed connections.
    Errors,
    /// Responses with 503, which tell the client to come back later.
    RefusedPerSecond,
    /// Requests that the generator could not start in time.
    NotSent,
    /// From the start of the process until every workload is ready, with compiled
    /// components in the cache.
    ReadyMilliseconds,
    /// Changes of the manifests that took effect, each verified by a request.
    ChangesPerMinute,
    /// From writing the file until a request is handled by the changed rule: the slowest
    /// change.
    SlowestChangeMilliseconds,
    /// Rows that were acknowledged and are missing after a SIGKILL.
    LostWrites,
}

/// The values of one round.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// Contenders that did the same work, in turn.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The name by which targets and the chart refer to it.
    pub(crate) key: String,
    pub(crate) title: String,
    /// What was running, and the load.
    pub(crate) setup: String,
    pub(crate) columns: Vec<Metric>,
    /// The metrics of which the ratio to the row `baseline` is shown too.
    pub(crate) compared: Vec<Metric>,
    pub(crate) baseline: String,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// What every load shows: throughput, what it costs, and response times.
pub(crate) const LOAD: &[Metric] = &[
    Metric::RequestsPerSecond,
    Metric::CpuMicrosecondsPerRequest,
    Metric::ContextSwitchesPerRequest,
    Metric::P50Milliseconds,
    Metric::P99Milliseconds,
    Metric::P999Milliseconds,
];

/// A median, and the smallest and largest value of single rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Metric {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::RequestsPerSecond => "requests/s",
            Self::CpuMicrosecondsPerRequest => "CPU µs per request",
            Self::ContextSwitchesPerRequest => "context switches per request",
            Self::P50Milliseconds => "p50 ms",
            Self::P99Milliseconds => "p99 ms",
            Self::P999Milliseconds => "p99.9 ms",
            Self::IdleMebibytes => "MiB idle",
            Self::LoadedMebibytes => "MiB at the end",
            Self::Threads => "threads",
            Self::ThreadsBeyondCores => "threads beyond cores",
            Self::GeneratorCores => "generator cores",
            Self::Errors => "errors",
            Self::RefusedPerSecond => "503/s",
            Self::NotSent => "not sent",
            Self::ReadyMilliseconds => "ready ms",
            Self::ChangesPerMinute => "changes/minute",
            Self::SlowestChangeMilliseconds => "slowest change ms",
            Self::LostWrites => "lost writes",
        }
    }
}

impl Metric {
    /// A single failure must not disappear in a median.
    fn is_failure(self) -> bool {
        matches!(self, Self::Errors | Self::NotSent | Self::LostWrites)
    }
}

impl Table {
    pub(crate) fn new(key: impl Into<String>, title: impl Into<String>, setup: &str) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            setup: setup.to_owned(),
            columns: Vec::new(),
            compared: Vec::new(),
            baseline: String::new(),
            rows: Vec::new(),
        }
    }

    /// Adds columns.
    pub(crate) fn columns(mut self, columns: &[Metric]) -> Self {
        self.columns.extend(columns);
        self
    }

    /// Shows the ratios of these metrics to those of the row `baseline`.
    pub(crate) fn compared(mut self, metrics: &[Metric], baseline: &str) -> Self {
        self.compared = metrics.to_vec();
        self.baseline = baseline.to_owned();
        self
    }

    /// Adds the sample of a round; the first one of a name adds the row.
    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row {
                name: name.to_owned(),
                samples: vec![sample],
            }),
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Row {
    /// The sum of all rounds for failures.
    pub(crate) fn spread(&self, metric: Metric) -> Option<Spread> {
        let values = self.samples.iter().filter_map(|sample| sample.get(&metric));
        let values: Vec<_> = values.copied().collect();
        match metric.is_failure() && !values.is_empty() {
            true => Spread::of(&[values.iter().sum()]),
            false => Spread::of(&values),
        }
    }

    /// The ratios to another row, round by round: what slows the machine down for a while
    /// affects both sides of a ratio.
    pub(crate) fn ratio(&self, other: &Self, metric: Metric) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&other.samples);
        let ratio = |(one, other): (&Sample, &Sample)| {
            let (value, base) = (one.get(&metric)?, other.get(&metric)?);
            (*base > 0.0).then(|| value / base)
        };
        Spread::of(&pairs.filter_map(ratio).collect::<Vec<_>>())
    }
}

impl Spread {
    /// With an even number of values, the median is the mean of the two middle ones.
    fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Some(Self {
            median: f64::midpoint(values[lower], values[upper]),
            min,
            max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> Row {
        let sample = |value: &f64| Sample::from([(Metric::P50Milliseconds, *value)]);
        Row {
            name: "row".into(),
            samples: values.iter().map(sample).collect(),
        }
    }

    #[test]
    fn median_is_the_middle_value() {
        let median = |values: &[f64]| row(values).spread(Metric::P50Milliseconds).unwrap().median;
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(row(&[]).spread(Metric::P50Milliseconds), None);
    }

    #[test]
    fn failures_of_all_rounds_are_added_up() {
        let errors = [0.0, 3.0, 0.0].map(|count| Sample::from([(Metric::Errors, count)]));
        let row = Row {
            name: "row".into(),
            samples: errors.into(),
        };
        assert_eq!(row.spread(Metric::Errors).unwrap().median, 3.0);
    }

    #[test]
    fn ratios_compare_the_same_round() {
        let ratio = row(&[2.0, 30.0]).ratio(&row(&[1.0, 10.0]), Metric::P50Milliseconds);
        let expected = Spread {
            median: 2.5,
            min: 2.0,
            max: 3.0,
        };
        assert_eq!(ratio, Some(expected));
        let zero = row(&[2.0]).ratio(&row(&[0.0]), Metric::P50Milliseconds);
        assert_eq!(zero, None);
    }
}
