//! The defaults of the kinds that create pods.

use serde_json::{Value, json};

use super::{default, pod};

pub(super) fn deployment(spec: &mut Value) {
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    default(spec, "strategy", json!({"type": "RollingUpdate"}));
    if let Some(strategy) = spec.get_mut("strategy") {
        self::strategy(strategy);
    }
    template(spec);
}

pub(super) fn daemon_set(spec: &mut Value) {
    let update = json!({
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    });
    default(spec, "updateStrategy", update);
    default(spec, "revisionHistoryLimit", json!(10));
    template(spec);
}

pub(super) fn replica_set(spec: &mut Value) {
    default(spec, "replicas", json!(1));
    template(spec);
}

pub(super) fn stateful_set(spec: &mut Value) {
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    let retention = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
    default(spec, "persistentVolumeClaimRetentionPolicy", retention);
    default(spec, "updateStrategy", json!({"type": "RollingUpdate"}));
    if let Some(strategy) = spec.get_mut("updateStrategy") {
        default(strategy, "type", json!("RollingUpdate"));
        if strategy["type"] == "RollingUpdate" {
            default(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate") {
                default(rolling, "partition", json!(0));
                default(rolling, "maxUnavailable", json!(1));
            }
        }
    }
    template(spec);
}

pub(super) fn job(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        default(spec, "completions", json!(1));
    }
    default(spec, "parallelism", json!(1));
    job_of_any(spec);
    default(spec, "manualSelector", json!(false));
}

/// The labels by which a Job selects its pods.
pub(super) fn job_labels(object: &mut Value) {
    let (name, uid) = (
        object["metadata"]["name"].clone(),
        object["metadata"]["uid"].clone(),
    );
    if uid.is_null() {
        return;
    }
    let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    if let Some(spec) = object.get_mut("spec") {
        default(spec, "selector", selector);
    }
    let Some(template) = object.pointer_mut("/spec/template") else {
        return;
    };
    default(template, "metadata", json!({}));
    let Some(metadata) = template.get_mut("metadata") else {
        return;
    };
    default(metadata, "labels", json!({}));
    let Some(labels) = metadata.get_mut("labels") else {
        return;
    };
    for prefix in ["", "batch.kubernetes.io/"] {
        default(labels, &format!("{prefix}controller-uid"), uid.clone());
        default(labels, &format!("{prefix}job-name"), name.clone());
    }
    // A Job without labels has those of its pods.
    let labels = labels.clone();
    if let Some(metadata) = object.get_mut("metadata") {
        default(metadata, "labels", labels);
    }
}

pub(super) fn cron_job(spec: &mut Value) {
    default(spec, "suspend", json!(false));
    default(spec, "concurrencyPolicy", json!("Allow"));
    default(spec, "successfulJobsHistoryLimit", json!(3));
    default(spec, "failedJobsHistoryLimit", json!(1));
    if let Some(job) = spec.get_mut("jobTemplate") {
        default(job, "metadata", json!({}));
        if let Some(template) = job.pointer_mut("/spec/template") {
            default(template, "metadata", json!({}));
        }
    }
    if let Some(spec) = spec.pointer_mut("/jobTemplate/spec") {
        template(spec);
    }
}

fn job_of_any(spec: &mut Value) {
    default(spec, "backoffLimit", json!(6));
    default(spec, "completionMode", json!("NonIndexed"));
    default(spec, "suspend", json!(false));
    default(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    template(spec);
}

fn strategy(strategy: &mut Value) {
    default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        default(strategy, "rollingUpdate", json!({}));
        if let Some(rolling) = strategy.get_mut("rollingUpdate") {
            default(rolling, "maxSurge", json!("25%"));
            default(rolling, "maxUnavailable", json!("25%"));
        }
    }
}

fn template(spec: &mut Value) {
    if let Some(spec) = spec.pointer_mut("/template/spec") {
        pod::spec(spec);
    }
}
