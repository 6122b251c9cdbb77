//! Columns of kinds that change or bound the number of pods.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, column, joined, number};

pub(super) const HORIZONTAL_POD_AUTOSCALER: &[Column] = &[
    NAME,
    column("Reference", |it| {
        let target = |field| it.text(field);
        let (kind, name) = ("/spec/scaleTargetRef/kind", "/spec/scaleTargetRef/name");
        format!("{}/{}", target(kind), target(name)).into()
    }),
    column("Targets", targets),
    column("MinPods", |it| match it.at("/spec/minReplicas") {
        Value::Null => "1".into(),
        number => number.to_string().into(),
    }),
    column("MaxPods", |it| it.count("/spec/maxReplicas").into()),
    column("Replicas", |it| it.count("/status/currentReplicas").into()),
    AGE,
];

pub(super) const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    column("Min Available", |it| bound(it, "/spec/minAvailable")),
    column("Max Unavailable", |it| bound(it, "/spec/maxUnavailable")),
    number("Allowed Disruptions", |it| {
        it.count("/status/disruptionsAllowed").into()
    }),
    AGE,
];

pub(super) const CANARY: &[Column] = &[
    NAME,
    column("Status", |it| it.text("/status/phase").into()),
    number("Weight", |it| it.count("/status/canaryWeight").into()),
    number("FailedChecks", |it| it.count("/status/failedChecks").into()),
    column("LastTransitionTime", |it| {
        it.text("/status/lastTransitionTime").into()
    }),
];

/// A number, a percentage, or `N/A`.
fn bound(it: Cell<'_>, pointer: &str) -> Value {
    match it.at(pointer) {
        Value::Null => "N/A".into(),
        Value::String(percent) => percent.clone().into(),
        number => number.to_string().into(),
    }
}

/// As in `cpu: 12%/80%`, for each metric.
fn targets(it: Cell<'_>) -> Value {
    let old = it.at("/spec/targetCPUUtilizationPercentage");
    let of_v1 = serde_json::json!([{"resource": {
        "name": "cpu",
        "target": {"averageUtilization": old.as_u64().unwrap_or(80)},
    }}]);
    let metrics = match it.at("/spec/metrics") {
        Value::Array(metrics) => metrics,
        _ => of_v1.as_array().map_or(&[][..], |it| it),
    };
    let shown = metrics.iter().map(|metric| {
        let (name, wanted) = metric_target(metric);
        let now = it.list("/status/currentMetrics").find_map(|current| {
            let (known, _) = metric_target(current);
            let found = current.pointer("/resource/current");
            let found = found.or_else(|| current.pointer("/pods/current"));
            (known == name).then(|| amount(found?)).flatten()
        });
        let now = now.unwrap_or_else(|| "<unknown>".to_owned());
        format!("{name}: {now}/{}", wanted.unwrap_or_default())
    });
    joined(shown)
}

/// The name and target of a metric in `spec` or `status`.
fn metric_target(metric: &Value) -> (&str, Option<String>) {
    let name = metric.pointer("/resource/name");
    let name = name.or_else(|| metric.pointer("/pods/metric/name"));
    let target = metric.pointer("/resource/target");
    let target = target.or_else(|| metric.pointer("/pods/target"));
    let name = name.and_then(Value::as_str).unwrap_or_default();
    (name, target.and_then(amount))
}

fn amount(value: &Value) -> Option<String> {
    match &value["averageUtilization"] {
        Value::Number(percent) => Some(format!("{percent}%")),
        _ => match &value["averageValue"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        },
    }
}
