//! Deployment, in its current apiVersion and the three before it.

use std::time::Duration;

use super::{pod, selector};
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, int_or_percent, integer, located, non_negative_seconds, steps,
};
use crate::model::{
    Deployment, IntOrPercent, LabelSelector, PodTemplate, Resource, RestartPolicy, Strategy,
};
use crate::yaml::Node;

/// Replicas of one Deployment in one process; more is a typing error.
const REPLICAS_MAX: u32 = 10_000;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let deployment = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::Deployment(deployment?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<Deployment> {
    let mut spec = Fields::of(d, node)?;
    let replicas = replicas(&mut spec);
    let template = spec.required("template", template);
    let selector = selector(&mut spec, template.as_ref());
    let strategy = spec
        .optional("strategy", strategy)
        .unwrap_or_else(default_rolling_update);
    let min_ready = spec.optional("minReadySeconds", non_negative_seconds);
    let min_ready = min_ready.unwrap_or_default();
    let progress_deadline = progress_deadline(&mut spec, min_ready);
    let revision_history_limit = spec
        .optional("revisionHistoryLimit", integer(0..=u32::MAX))
        .unwrap_or(10);
    let paused = spec.optional("paused", boolean).unwrap_or(false);
    spec.finish(&["rollbackTo"]);
    Some(Deployment {
        replicas,
        selector: selector?,
        template: template?,
        strategy,
        min_ready,
        progress_deadline,
        revision_history_limit,
        paused,
    })
}

/// The deadline must be longer than `minReadySeconds`, or every rollout would fail.
fn progress_deadline(spec: &mut Fields<'_, '_>, min_ready: Duration) -> Duration {
    let deadline = spec.optional("progressDeadlineSeconds", non_negative_seconds);
    let deadline = deadline.unwrap_or(Duration::from_secs(600));
    if deadline <= min_ready {
        let message = format!(
            "{} is not longer than `minReadySeconds`, {}; no new pod could be available in time",
            deadline.as_secs(),
            min_ready.as_secs()
        );
        spec.error_at("progressDeadlineSeconds", codes::INVALID_VALUE, message);
    }
    deadline
}

/// The selector, which must select the labels of the template. In the oldest apiVersions it
/// may be absent and defaults to those labels.
pub(super) fn selector(
    spec: &mut Fields<'_, '_>,
    template: Option<&PodTemplate>,
) -> Option<LabelSelector> {
    let may_be_absent = matches!(spec.d.api_version(), "extensions/v1beta1" | "apps/v1beta1");
    if may_be_absent && !spec.has("selector") {
        let match_labels = template?.labels.clone();
        return Some(LabelSelector {
            match_labels,
            match_expressions: Vec::new(),
        });
    }
    let selector = spec.required("selector", selector::read)?;
    let empty = selector.match_labels.is_empty() && selector.match_expressions.is_empty();
    if empty {
        let message = "an empty selector selects every pod; name the labels of the template";
        spec.error_at("selector", codes::SELECTOR, message.to_owned());
        return None;
    }
    if let Some(template) = template
        && !selector.matches(&template.labels)
    {
        let wrong: Vec<String> = selector
            .match_labels
            .iter()
            .filter(|(key, value)| template.labels.get(*key) != Some(value))
            .map(|(key, value)| match template.labels.get(key) {
                Some(other) => format!("`{key}` is `{value}` here and `{other}` there"),
                None => format!("`{key}: {value}` is missing"),
            })
            .collect();
        let detail = if wrong.is_empty() {
            String::new()
        } else {
            format!(": {}", wrong.join(", "))
        };
        let message =
            format!("does not select the labels of spec.template.metadata.labels{detail}");
        spec.error_at("selector", codes::SELECTOR, message);
    }
    Some(selector)
}

fn template(d: &mut Decoder, node: &Node) -> Option<PodTemplate> {
    let template = pod::template(d, node)?;
    always_restarted(d, node, &template, "Deployment");
    Some(template)
}

/// `replicas`, 1 by default.
pub(super) fn replicas(spec: &mut Fields<'_, '_>) -> WithPosition<u32> {
    let replicas = spec.optional("replicas", located(integer(0..=REPLICAS_MAX)));
    let mark = spec.mark;
    replicas.unwrap_or_else(|| WithPosition::new(1, spec.d.position(mark)))
}

pub(super) fn always_restarted(d: &mut Decoder, node: &Node, template: &PodTemplate, kind: &str) {
    if template.spec.restart_policy != RestartPolicy::Always {
        let at = node
            .get("spec")
            .and_then(|spec| spec.get("restartPolicy"))
            .unwrap_or(node);
        let message =
            format!("a {kind}'s pods are always restarted; write `Always` or leave it out");
        d.within(steps!["spec", "restartPolicy"], |d| {
            d.error(at.mark, codes::INVALID_VALUE, message);
        });
    }
}

fn strategy(d: &mut Decoder, node: &Node) -> Option<Strategy> {
    let mut strategy = Fields::of(d, node)?;
    let recreate = strategy
        .optional("type", |d, node| {
            choice(
                d,
                node,
                "a strategy",
                &[("RollingUpdate", false), ("Recreate", true)],
            )
        })
        .unwrap_or(false);
    let rolling = strategy.optional("rollingUpdate", rolling_update);
    if recreate && strategy.has("rollingUpdate") {
        let message = "has no effect with `type: Recreate`; leave it out".to_owned();
        strategy.error_at("rollingUpdate", codes::EXCLUSIVE_FIELDS, message);
    }
    strategy.finish(&[]);
    if recreate {
        return Some(Strategy::Recreate);
    }
    Some(rolling.unwrap_or_else(default_rolling_update))
}

fn rolling_update(d: &mut Decoder, node: &Node) -> Option<Strategy> {
    let mut fields = Fields::of(d, node)?;
    let quarter = IntOrPercent::Percent(25);
    let max_surge = fields
        .optional("maxSurge", int_or_percent)
        .unwrap_or(quarter);
    let max_unavailable = fields
        .optional("maxUnavailable", int_or_percent)
        .unwrap_or(quarter);
    let is_zero = |value| matches!(value, IntOrPercent::Int(0) | IntOrPercent::Percent(0));
    if is_zero(max_surge) && is_zero(max_unavailable) {
        let message = "must not be 0 while `maxSurge` is 0, or no pod could ever be replaced";
        fields.error_at("maxUnavailable", codes::INVALID_VALUE, message.to_owned());
    }
    fields.finish(&[]);
    Some(Strategy::RollingUpdate {
        max_surge,
        max_unavailable,
    })
}

fn default_rolling_update() -> Strategy {
    let quarter = IntOrPercent::Percent(25);
    Strategy::RollingUpdate {
        max_surge: quarter,
        max_unavailable: quarter,
    }
}
