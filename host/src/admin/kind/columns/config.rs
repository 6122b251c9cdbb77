//! Columns of configuration, quotas, namespaces and events.

use serde_json::Value;

use super::{AGE, CREATED_AT, Cell, Column, NAME, column, joined, wide};

/// For kinds with nothing else to show.
pub(super) const AGE_ONLY: &[Column] = &[NAME, AGE];

pub(super) const CONFIG_MAP: &[Column] = &[
    NAME,
    column("Data", |it| {
        (it.len("/data") + it.len("/binaryData")).into()
    }),
    AGE,
];

/// The number of keys, never a value.
pub(super) const SECRET: &[Column] = &[
    NAME,
    column("Type", |it| it.text("/type").into()),
    column("Data", |it| it.len("/data").into()),
    AGE,
];

pub(super) const LIMIT_RANGE: &[Column] = &[NAME, CREATED_AT];

pub(super) const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    column("Request", |it| used(it, false).into()),
    column("Limit", |it| used(it, true).into()),
    AGE,
];

pub(super) const NAMESPACE: &[Column] = &[
    NAME,
    column("Status", |it| it.text("/status/phase").into()),
    AGE,
];

pub(super) const EVENT: &[Column] = &[
    column("Last Seen", |it| it.since("/lastTimestamp").into()),
    column("Type", |it| it.text("/type").into()),
    column("Reason", |it| it.text("/reason").into()),
    column("Object", |it| {
        let kind = it.text("/involvedObject/kind").to_ascii_lowercase();
        format!("{kind}/{}", it.text("/involvedObject/name")).into()
    }),
    wide("Subobject", |it| {
        it.text("/involvedObject/fieldPath").into()
    }),
    wide("Source", |it| it.text("/source/component").into()),
    column("Message", |it| it.text("/message").trim().into()),
    wide("First Seen", |it| it.since("/firstTimestamp").into()),
    wide("Count", |it| it.at("/count").clone()),
    Column { wide: true, ..NAME },
];

/// `cpu: 1/2, memory: 1Gi/2Gi` of the requests or of the limits.
fn used(it: Cell<'_>, limits: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("0").to_owned();
    let hard = it.at("/status/hard").as_object().into_iter().flatten();
    let shown = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = &it.at("/status/used")[name];
            format!("{name}: {}/{}", text(used), text(hard))
        });
    match joined(shown) {
        Value::String(shown) if shown != "<none>" => shown.replace(',', ", "),
        _ => String::new(),
    }
}
