//! Columns of what changes or bounds the number of pods.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, column, number};

pub(in super::super) const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    column("Min Available", |it| bound(it, "/spec/minAvailable")),
    column("Max Unavailable", |it| bound(it, "/spec/maxUnavailable")),
    number("Allowed Disruptions", |it| {
        it.count("/status/disruptionsAllowed").into()
    }),
    AGE,
];

/// A number, a percentage, or `N/A`.
fn bound(it: Cell<'_>, pointer: &str) -> Value {
    match it.at(pointer) {
        Value::Null => "N/A".into(),
        Value::String(percent) => percent.clone().into(),
        number => number.to_string().into(),
    }
}
