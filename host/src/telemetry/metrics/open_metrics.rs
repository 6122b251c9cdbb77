//! The text format of OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! It differs from Prometheus' own format in the family names of counters, in units and
//! in the end marker, and it supports exemplars, which is why the host offers it.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::SystemTime;

use prometheus::proto::{Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::exemplar::Exemplar;
use crate::telemetry::names;

/// The exemplars of a histogram's buckets. The key has the values of the series' labels,
/// in the order of the labels' names, separated by NUL.
pub(super) type ExemplarsBySeries = HashMap<String, Box<[Option<Exemplar>]>>;

/// `families`, with the exemplars of the duration of calls.
pub(super) fn encode(families: &[MetricFamily], durations: &ExemplarsBySeries) -> String {
    let mut text = String::new();
    for family in families {
        write_family(&mut text, family, durations);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily, durations: &ExemplarsBySeries) {
    let name = family.name();
    let kind = family.get_field_type();
    let (base, word) = match kind {
        MetricType::COUNTER => (name.strip_suffix("_total").unwrap_or(name), "counter"),
        MetricType::GAUGE => (name, "gauge"),
        MetricType::HISTOGRAM => (name, "histogram"),
        // The catalogue has no metrics of these types.
        MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    line(text, format_args!("# TYPE {base} {word}"));
    let unit = names::find(name).map_or("", |metric| metric.unit);
    if !unit.is_empty() {
        line(text, format_args!("# UNIT {base} {unit}"));
    }
    line(
        text,
        format_args!("# HELP {base} {}", escaped(family.help())),
    );
    for sample in family.get_metric() {
        let labels = sample.get_label();
        match kind {
            MetricType::COUNTER => {
                let value = sample.get_counter().get_value();
                line(
                    text,
                    format_args!("{base}_total{} {value}", braced(labels, None)),
                );
            }
            MetricType::HISTOGRAM => {
                let exemplars = (name == names::REQUEST_DURATION.name)
                    .then(|| durations.get(&key(labels)))
                    .flatten();
                write_histogram(text, name, sample, exemplars.map(|it| &**it));
            }
            _ => {
                let value = sample.get_gauge().get_value();
                line(text, format_args!("{name}{} {value}", braced(labels, None)));
            }
        }
    }
}

fn write_histogram(
    text: &mut String,
    name: &str,
    sample: &Sample,
    exemplars: Option<&[Option<Exemplar>]>,
) {
    let labels = sample.get_label();
    let histogram = sample.get_histogram();
    for (number, (bound, count)) in buckets(histogram).enumerate() {
        let braced = braced(labels, Some(&bound));
        let exemplar = exemplars.and_then(|it| *it.get(number)?);
        let exemplar = exemplar.map(|it| shown(&it)).unwrap_or_default();
        line(
            text,
            format_args!("{name}_bucket{braced} {count}{exemplar}"),
        );
    }
    let braced = braced(labels, None);
    let (sum, count) = (histogram.get_sample_sum(), histogram.get_sample_count());
    line(text, format_args!("{name}_sum{braced} {sum}"));
    line(text, format_args!("{name}_count{braced} {count}"));
}

/// Upper bounds and cumulative counts; the last bucket has no upper bound.
fn buckets(histogram: &Histogram) -> impl Iterator<Item = (String, u64)> {
    let bounded = histogram.get_bucket().iter();
    let bounded = bounded.filter(|bucket| bucket.upper_bound().is_finite());
    let bounded = bounded.map(|it| (canonical(it.upper_bound()), it.cumulative_count()));
    bounded.chain([("+Inf".to_owned(), histogram.get_sample_count())])
}

/// OpenMetrics requires that a bound is written as a float.
fn canonical(bound: f64) -> String {
    match bound.fract() == 0.0 {
        true => format!("{bound:.1}"),
        false => bound.to_string(),
    }
}

fn shown(exemplar: &Exemplar) -> String {
    let Exemplar {
        trace_id,
        value,
        at,
    } = exemplar;
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        " # {{trace_id=\"{trace_id:032x}\"}} {value} {:.3}",
        since.as_secs_f64()
    )
}

fn braced(labels: &[LabelPair], bound: Option<&str>) -> String {
    let labels = labels.iter().map(|pair| (pair.name(), pair.value()));
    let mut text = String::new();
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}=\"{}\"", escaped(value));
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\n', "\\n");
    value.replace('"', "\\\"")
}

fn key(labels: &[LabelPair]) -> String {
    let mut pairs: Vec<_> = labels.iter().map(|it| (it.name(), it.value())).collect();
    pairs.sort_unstable();
    let values: Vec<_> = pairs.into_iter().map(|(_, value)| value).collect();
    values.join("\0")
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::core::Collector;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    use super::*;

    fn nothing() -> ExemplarsBySeries {
        HashMap::new()
    }

    #[test]
    fn total_suffix_belongs_to_samples_and_not_to_the_family() {
        let metric = &names::ROUTE_REQUESTS;
        let options = Opts::new(metric.name, "Calls with a \"rule\".");
        let counters = IntCounterVec::new(options, &["route"]).expect("counters");
        counters.with_label_values(&["a\"b\\c\nd"]).inc_by(3);
        assert_eq!(
            encode(&counters.collect(), &nothing()),
            "# TYPE galleria_route_requests counter\n\
             # HELP galleria_route_requests Calls with a \\\"rule\\\".\n\
             galleria_route_requests_total{route=\"a\\\"b\\\\c\\nd\"} 3\n\
             # EOF\n"
        );
    }

    #[test]
    fn gauge_declares_its_unit() {
        let metric = &names::SNAPSHOT_AGE;
        let gauge = IntGauge::new(metric.name, "Age.").expect("a gauge");
        gauge.set(7);
        assert_eq!(
            encode(&gauge.collect(), &nothing()),
            "# TYPE galleria_snapshot_age_seconds gauge\n\
             # UNIT galleria_snapshot_age_seconds seconds\n\
             # HELP galleria_snapshot_age_seconds Age.\n\
             galleria_snapshot_age_seconds 7\n\
             # EOF\n"
        );
    }

    #[test]
    fn buckets_show_the_exemplars_of_their_series() {
        let metric = &names::REQUEST_DURATION;
        let options = HistogramOpts::new(metric.name, "Time.").buckets(vec![0.5, 5.0]);
        let histograms = HistogramVec::new(options, &["b", "a"]).expect("histograms");
        histograms.with_label_values(&["2", "1"]).observe(3.0);
        histograms.with_label_values(&["2", "0"]).observe(9.0);
        let exemplar = Exemplar {
            trace_id: 0xabc,
            value: 3.0,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
        };
        let by_bucket: Box<[_]> = Box::new([None, Some(exemplar), None]);
        let exemplars = HashMap::from([("1\x002".to_owned(), by_bucket)]);
        let text = encode(&histograms.collect(), &exemplars);
        let exemplar = "# {trace_id=\"00000000000000000000000000000abc\"} 3 1.500";
        let buckets = [
            "_bucket{a=\"1\",b=\"2\",le=\"0.5\"} 0\n".to_owned(),
            format!("_bucket{{a=\"1\",b=\"2\",le=\"5.0\"}} 1 {exemplar}\n"),
            "_bucket{a=\"1\",b=\"2\",le=\"+Inf\"} 1\n".to_owned(),
            "_sum{a=\"1\",b=\"2\"} 3\n".to_owned(),
            "_count{a=\"0\",b=\"2\"} 1\n".to_owned(),
        ];
        for bucket in buckets {
            assert!(text.contains(&bucket), "{bucket} in {text}");
        }
        assert_eq!(text.matches("trace_id").count(), 1, "{text}");
    }
}
