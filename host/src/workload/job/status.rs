//! The `status` of a Job and of a CronJob, as in a cluster.

use galleria_manifest::model::CompletionMode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::progress::Progress;
use super::record::CronJobRecord;
use crate::workload::WorkloadKey;
use crate::workload::plan::JobPlan;

/// `status` of a Job with `active` pods.
pub(super) fn job(plan: &JobPlan, progress: &Progress, active: usize) -> Value {
    let mut status = Map::new();
    let mut set = |name: &str, value: Value| {
        status.insert(name.into(), value);
    };
    set("active", active.into());
    set("ready", active.into());
    set("succeeded", progress.succeeded.into());
    set("failed", progress.failed.into());
    if let Some(time) = progress.start_time {
        set("startTime", rfc3339(time));
    }
    if plan.job.completion_mode == CompletionMode::Indexed {
        set("completedIndexes", progress.completed_ranges().into());
    }
    let mut conditions = Vec::new();
    if let Some(end) = &progress.end {
        let time = rfc3339(end.at);
        conditions.push(match &end.failure {
            None => {
                set("completionTime", time.clone());
                json!({"type": "Complete", "status": "True", "lastTransitionTime": time})
            }
            Some(failure) => json!({
                "type": "Failed", "status": "True", "lastTransitionTime": time,
                "reason": failure.reason, "message": failure.message,
            }),
        });
    } else if plan.job.suspend {
        conditions.push(json!({"type": "Suspended", "status": "True", "reason": "JobSuspended"}));
    }
    set("conditions", conditions.into());
    status.into()
}

/// `status` of a CronJob.
pub(super) fn cron_job(record: &CronJobRecord, active: &[&WorkloadKey]) -> Value {
    let reference = |key: &&WorkloadKey| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "namespace": key.namespace, "name": key.name,
        })
    };
    let mut status = Map::new();
    let active: Vec<Value> = active.iter().map(reference).collect();
    status.insert("active".into(), active.into());
    let times = [
        ("lastScheduleTime", record.last_schedule_time),
        ("lastSuccessfulTime", record.last_successful_time),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            status.insert(name.into(), rfc3339(time));
        }
    }
    status.into()
}

/// A time in whole seconds, as in a cluster.
fn rfc3339(time: Timestamp) -> Value {
    let second = Timestamp::from_second(time.as_second()).unwrap_or(time);
    second.to_string().into()
}
