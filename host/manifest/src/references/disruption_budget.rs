//! The selector of a PodDisruptionBudget.

use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{Object, PodDisruptionBudget};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    budget: &PodDisruptionBudget,
) {
    let namespace = object.metadata.namespace.as_str();
    let mut workloads = index.workloads_in(namespace);
    // The selected workload may be one that was refused.
    if workloads.any(|(_, template)| budget.selector.matches(&template.labels))
        || index.any_serving_refused()
    {
        return;
    }
    let message = format!("selects no pods of the namespace {namespace}, so it has no effect");
    let path = "spec.selector".to_owned();
    report.warning(
        object,
        &object.at,
        path,
        codes::BUDGET_SELECTS_NOTHING,
        message,
    );
}
