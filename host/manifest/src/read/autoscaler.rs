//! HorizontalPodAutoscaler, in its current apiVersions and the two betas before.

use std::time::Duration;

use super::scaling_metric;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, integer, located_text, non_negative_seconds};
use crate::kind;
use crate::model::{
    HorizontalPodAutoscaler, IntOrPercent, Resource, ResourceTarget, ScaledResource, ScalingMetric,
    ScalingPolicy, ScalingRules, SelectPolicy,
};
use crate::yaml::Node;

/// The same as for a Deployment.
const REPLICAS_MAX: u32 = 10_000;

/// Kubernetes' limit for windows.
const WINDOW_MAX: u32 = 3_600;
/// Kubernetes' limit for periods of policies.
const PERIOD_MAX: u32 = 1_800;

const UTILIZATION_DEFAULT: u32 = 80;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let autoscaler = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::HorizontalPodAutoscaler(autoscaler?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<HorizontalPodAutoscaler> {
    let mut spec = Fields::of(d, node)?;
    let target = spec.required("scaleTargetRef", target);
    let min = spec.optional("minReplicas", integer(1..=REPLICAS_MAX));
    let max = spec.required("maxReplicas", integer(1..=REPLICAS_MAX));
    let min_replicas = min.unwrap_or(1);
    if max.is_some_and(|max| max < min_replicas) {
        let message = format!("is less than minReplicas, {min_replicas}");
        spec.error_at("maxReplicas", codes::INVALID_VALUE, message);
    }
    let mut metrics = Vec::new();
    let mut scale_up = up_by_default();
    let mut scale_down = down_by_default();
    if spec.d.api_version() == "autoscaling/v1" {
        let cpu = spec.optional("targetCPUUtilizationPercentage", integer(1..=10_000));
        metrics.extend(cpu.map(utilization));
    } else {
        let read = spec.list("metrics", scaling_metric::read);
        metrics.extend(read.into_iter().flatten());
        spec.optional("behavior", |d, node| {
            let mut behavior = Fields::of(d, node)?;
            if let Some(rules) =
                behavior.optional("scaleUp", |d, node| rules(d, node, up_by_default()))
            {
                scale_up = rules;
            }
            if let Some(rules) =
                behavior.optional("scaleDown", |d, node| rules(d, node, down_by_default()))
            {
                scale_down = rules;
            }
            behavior.finish(&[]);
            Some(())
        });
    }
    if metrics.is_empty() && !spec.has("metrics") {
        metrics.push(utilization(UTILIZATION_DEFAULT));
    }
    spec.finish(&[]);
    let (target_kind, target_name) = target?;
    Some(HorizontalPodAutoscaler {
        target_kind,
        target_name,
        min_replicas,
        max_replicas: max?,
        metrics,
        scale_up,
        scale_down,
    })
}

fn utilization(percent: u32) -> ScalingMetric {
    ScalingMetric::Resource {
        resource: ScaledResource::Cpu,
        target: ResourceTarget::Utilization(percent),
    }
}

fn target(
    d: &mut Decoder,
    node: &Node,
) -> Option<(crate::WithPosition<String>, crate::WithPosition<String>)> {
    let mut target = Fields::of(d, node)?;
    let kind = target.required("kind", |d, node| {
        let scalable = kind::all()
            .iter()
            .filter(|row| row.has_subresource(kind::SCALE));
        let scalable: Vec<_> = scalable.map(|row| (row.kind, row.kind)).collect();
        let kind = choice(d, node, "a kind that can be scaled", &scalable)?;
        Some(d.locate(kind.to_owned(), node))
    });
    let name = target.required("name", located_text);
    target.ignore(&["apiVersion"]);
    target.finish(&[]);
    Some((kind?, name?))
}

fn rules(d: &mut Decoder, node: &Node, default: ScalingRules) -> Option<ScalingRules> {
    let mut rules = Fields::of(d, node)?;
    let window = rules.optional("stabilizationWindowSeconds", integer(0..=WINDOW_MAX));
    let select = rules.optional("selectPolicy", |d, node| {
        let policies = [
            ("Max", SelectPolicy::Max),
            ("Min", SelectPolicy::Min),
            ("Disabled", SelectPolicy::Disabled),
        ];
        choice(d, node, "a selection", &policies)
    });
    let policies = rules.list("policies", policy);
    rules.finish(&["tolerance"]);
    Some(ScalingRules {
        stabilization: window.map_or(default.stabilization, |seconds| {
            Duration::from_secs(seconds.into())
        }),
        select: select.unwrap_or(default.select),
        policies: match policies.is_empty() {
            true => default.policies,
            false => policies,
        },
    })
}

fn policy(d: &mut Decoder, node: &Node) -> Option<ScalingPolicy> {
    let mut policy = Fields::of(d, node)?;
    let is_percent = policy.required("type", |d, node| {
        choice(
            d,
            node,
            "a kind of policy",
            &[("Pods", false), ("Percent", true)],
        )
    });
    let value = policy.required("value", integer(1..=u32::MAX));
    let period = policy.required("periodSeconds", |d, node| {
        integer(1..=PERIOD_MAX)(d, node)?;
        non_negative_seconds(d, node)
    });
    policy.finish(&[]);
    let (is_percent, value) = (is_percent?, value?);
    Some(ScalingPolicy {
        change: match is_percent {
            true => IntOrPercent::Percent(value),
            false => IntOrPercent::Int(value),
        },
        period: period?,
    })
}

fn up_by_default() -> ScalingRules {
    let period = Duration::from_secs(15);
    let change = [IntOrPercent::Percent(100), IntOrPercent::Int(4)];
    ScalingRules {
        stabilization: Duration::ZERO,
        select: SelectPolicy::Max,
        policies: change.map(|change| ScalingPolicy { change, period }).into(),
    }
}

fn down_by_default() -> ScalingRules {
    ScalingRules {
        stabilization: Duration::from_secs(300),
        select: SelectPolicy::Max,
        policies: vec![ScalingPolicy {
            change: IntOrPercent::Percent(100),
            period: Duration::from_secs(15),
        }],
    }
}
