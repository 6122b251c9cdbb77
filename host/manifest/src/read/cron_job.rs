//! CronJob: its schedule, and the template of its Jobs.

use super::{job, metadata, schedule};
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, integer, located, non_negative_seconds, steps,
};
use crate::model::{ConcurrencyPolicy, CronJob, Job, Labels, Resource};
use crate::yaml::Node;

/// Characters of a name: a cluster appends eleven for the name of each Job.
const NAME_CHARACTERS_MAX: usize = 52;

/// Successful, and failed, Jobs that one CronJob can keep.
const HISTORY_MAX: u32 = 1_000;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let name = fields.get("metadata").and_then(|node| node.get("name"));
    if let Some(name) = name
        && let Some(text) = name.as_text()
        && text.len() > NAME_CHARACTERS_MAX
    {
        let message = format!(
            "the name has {} characters, but a CronJob's may have at most {NAME_CHARACTERS_MAX}, since its Jobs' names append a time",
            text.len()
        );
        let mark = name.mark;
        fields.d.within(steps!["metadata", "name"], |d| {
            d.error(mark, codes::NAME, message);
        });
    }
    let cron_job = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::CronJob(cron_job?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<CronJob> {
    let mut spec = Fields::of(d, node)?;
    let time_zone = spec.optional("timeZone", schedule::time_zone);
    let schedule = spec.required(
        "schedule",
        located(|d, node| schedule::read(d, node, time_zone)),
    );
    let concurrency_policy = spec.optional("concurrencyPolicy", |d, node| {
        let policies = [
            ("Allow", ConcurrencyPolicy::Allow),
            ("Forbid", ConcurrencyPolicy::Forbid),
            ("Replace", ConcurrencyPolicy::Replace),
        ];
        choice(d, node, "a concurrency policy", &policies)
    });
    let starting_deadline = spec.optional("startingDeadlineSeconds", non_negative_seconds);
    let suspend = spec.optional("suspend", boolean).unwrap_or(false);
    let successful = spec.optional("successfulJobsHistoryLimit", integer(0..=HISTORY_MAX));
    let failed = spec.optional("failedJobsHistoryLimit", integer(0..=HISTORY_MAX));
    let template = spec.required("jobTemplate", job_template);
    spec.finish(&[]);
    let (job_labels, job_annotations, job) = template?;
    Some(CronJob {
        schedule: schedule?,
        concurrency_policy: concurrency_policy.unwrap_or(ConcurrencyPolicy::Allow),
        starting_deadline,
        suspend,
        successful_jobs_history_limit: successful.unwrap_or(3),
        failed_jobs_history_limit: failed.unwrap_or(1),
        job_labels,
        job_annotations,
        job,
    })
}

fn job_template(d: &mut Decoder, node: &Node) -> Option<(Labels, Labels, Job)> {
    let mut template = Fields::of(d, node)?;
    let metadata = template.optional("metadata", metadata::template);
    let job = template.required("spec", job::spec);
    template.finish(&[]);
    let (labels, annotations) = metadata.unwrap_or_default();
    let annotations = annotations
        .into_iter()
        .map(|(name, text)| (name, text.value))
        .collect();
    Some((labels, annotations, job?))
}
