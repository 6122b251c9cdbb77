//! Generates `docs/TELEMETRY.md` from the catalogues of metrics, spans and attributes and
//! from the types of the log lines. The test fails if the document is out of date; with
//! `UPDATE_DOCS=1` it writes the document.

use std::fmt::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde_json::Value;

use super::access_log;
use super::guest_log::GuestLogLine;
use super::names::{self, Kind};
use super::trace::{attributes, spans};

const OPENING: &str = "\
# Telemetry

What a host reports about itself and every call, without code in the services. This
page is generated from the code (`UPDATE_DOCS=1 cargo test -p galleria document`); how to
set things up and what to look at first is in [OPERATIONS.md](OPERATIONS.md), the
dashboards are in [grafana/](../grafana).
";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is for the developer, not for the host"
)]
fn document_matches_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TELEMETRY.md");
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &made).expect("the document can be written");
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == made,
        "docs/TELEMETRY.md is out of date: run \
         `UPDATE_DOCS=1 cargo test -p galleria document`"
    );
}

fn document() -> String {
    let mut text = OPENING.to_owned();
    metrics(&mut text);
    traces(&mut text);
    logs(&mut text);
    text
}

fn metrics(text: &mut String) {
    text.push_str(
        "\n## Metrics\n\nThe status port serves them at `/metrics`, and under Istio's name \
         `/stats/prometheus`: as Prometheus' text, or as OpenMetrics with exemplars if \
         requested. A label whose value is not known is `unknown`.\n\n\
         | metric | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in names::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels = match metric.labels {
            labels if labels == names::EDGE_LABELS => "Istio's".to_owned(),
            labels if labels == names::TCP_LABELS => "Istio's without `response_code`".to_owned(),
            labels => labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let (name, unit, help) = (metric.name, metric.unit, metric.help);
        row(text, &[&format!("`{name}`"), kind, unit, &labels, help]);
    }
    let _ = write!(
        text,
        "\nIstio's labels are `{}`.\n",
        names::EDGE_LABELS.join("`, `")
    );
}

fn traces(text: &mut String) {
    text.push_str(
        "\n## Spans\n\nThey are exported to a collector over OTLP, as set by the `OTEL_*` variables.\n\n\
         | span | kind | `service.name` | meaning |\n| --- | --- | --- | --- |\n",
    );
    for span in spans::ALL {
        let name = format!("`{}`", span.name);
        row(text, &[&name, span.kind, span.service, span.meaning]);
    }
    text.push_str("\n| attribute | meaning |\n| --- | --- |\n");
    for attribute in attributes::ALL {
        row(text, &[&format!("`{}`", attribute.name), attribute.meaning]);
    }
}

fn logs(text: &mut String) {
    text.push_str(
        "\n## Logs\n\nStandard output has one JSON object per line: for each call, at the end of \
         its response, and for each line of a guest.\n\n### Calls\n\n",
    );
    fields::<access_log::Line<'static>>(text);
    text.push_str("\n### Lines of guests\n\n");
    fields::<GuestLogLine<'static>>(text);
    text.push_str(
        "\nThe host's own log is on standard error: `timestamp`, `level`, `message`, and the fields \
         of the event. `--log` chooses levels, by module too. Each request that an AUDIT policy \
         matches is an event `audited request` of the target `galleria::audit`.\n",
    );
}

/// A row for each field of `T`; each must have a doc comment.
fn fields<T: JsonSchema>(text: &mut String) {
    text.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.expect("an object has properties") {
        let kind = match &field["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
                kinds.join(" or ")
            }
            other => panic!("{name} has the type {other}"),
        };
        let meaning = field["description"].as_str();
        let meaning = meaning.unwrap_or_else(|| panic!("{name} has no doc comment"));
        let meaning = meaning.replace('\n', " ");
        row(text, &[&format!("`{name}`"), &kind, &meaning]);
    }
}

fn row(text: &mut String, cells: &[&str]) {
    for cell in cells {
        assert!(!cell.contains('\n'), "{cell:?} is more than a line");
        let _ = write!(text, "| {} ", cell.replace('|', "\\|"));
    }
    text.push_str("|\n");
}
