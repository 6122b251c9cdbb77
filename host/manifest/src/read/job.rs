//! Job, and the template of a CronJob's Jobs.

use super::pod;
use crate::codes;
use crate::decode::{Decoder, Fields, boolean, choice, integer, non_negative_seconds, steps};
use crate::model::{CompletionMode, Job, PodTemplate, Resource, RestartPolicy};
use crate::yaml::Node;

/// Pods of one Job. Each takes memory for its index and its time.
const COMPLETIONS_MAX: u32 = 100_000;

/// Pods of one Job at once, all in this process.
const PARALLELISM_MAX: u32 = 1_000;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let job = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::Job(job?))
}

pub(super) fn spec(d: &mut Decoder, node: &Node) -> Option<Job> {
    let mut spec = Fields::of(d, node)?;
    let template = spec.required("template", template);
    let parallelism = spec.optional("parallelism", integer(0..=PARALLELISM_MAX));
    let completions = spec.optional("completions", integer(0..=COMPLETIONS_MAX));
    let completion_mode = spec
        .optional("completionMode", completion_mode)
        .unwrap_or(CompletionMode::NonIndexed);
    if completion_mode == CompletionMode::Indexed && !spec.has("completions") {
        spec.missing("completions");
    }
    let backoff_limit = spec.optional("backoffLimit", integer(0..=i32::MAX.unsigned_abs()));
    let active_deadline = spec.optional("activeDeadlineSeconds", non_negative_seconds);
    let ttl_after_finished = spec.optional("ttlSecondsAfterFinished", non_negative_seconds);
    let suspend = spec.optional("suspend", boolean).unwrap_or(false);
    // A cluster writes these two into every Job that it shows.
    spec.ignore(&["selector", "manualSelector"]);
    spec.finish(&[
        "backoffLimitPerIndex",
        "managedBy",
        "maxFailedIndexes",
        "podFailurePolicy",
        "podReplacementPolicy",
        "successPolicy",
    ]);
    Some(Job {
        template: template?,
        completions: completions.or((parallelism.is_none()).then_some(1)),
        parallelism: parallelism.unwrap_or(1),
        completion_mode,
        backoff_limit: backoff_limit.unwrap_or(6),
        active_deadline,
        ttl_after_finished,
        suspend,
    })
}

fn completion_mode(d: &mut Decoder, node: &Node) -> Option<CompletionMode> {
    let modes = [
        ("NonIndexed", CompletionMode::NonIndexed),
        ("Indexed", CompletionMode::Indexed),
    ];
    choice(d, node, "a completion mode", &modes)
}

/// A Job needs a restart policy that lets its pods end, which the default of pods does not.
fn template(d: &mut Decoder, node: &Node) -> Option<PodTemplate> {
    let template = pod::template(d, node)?;
    let spec = node.get("spec").unwrap_or(node);
    let policy = spec.get("restartPolicy");
    // An invalid policy is already reported, and replaced by the default.
    let is_said = policy.is_none_or(|policy| policy.as_text() == Some("Always"));
    if template.spec.restart_policy == RestartPolicy::Always && is_said {
        let message = match policy {
            Some(_) => "a Job's pods must terminate; write `Never` or `OnFailure`",
            None => {
                "is missing, and pods are restarted by default, but a Job's pods must terminate: write `Never` or `OnFailure`"
            }
        };
        let mark = policy.unwrap_or(spec).mark;
        d.within(steps!["spec", "restartPolicy"], |d| {
            d.error(mark, codes::INVALID_VALUE, message);
        });
    }
    for (at, container) in template.spec.containers.iter().enumerate() {
        let probes = [
            ("startupProbe", &container.startup_probe),
            ("livenessProbe", &container.liveness_probe),
            ("readinessProbe", &container.readiness_probe),
        ];
        for (field, probe) in probes {
            if let Some(probe) = probe {
                let mark = (&probe.at).into();
                let message = "is not supported for a Job by this host: a component that runs to completion answers no probes";
                d.within(steps!["spec", "containers", at, field], |d| {
                    d.warning(mark, codes::NOT_HONOURED, message);
                });
            }
        }
    }
    Some(template)
}
