//! The `status` of a HorizontalPodAutoscaler, in the form that kubectl reads.

use galleria_manifest::model::{
    HorizontalPodAutoscaler, ObjectKey, Quantity, ResourceTarget, ScaledResource, ScalingMetric,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::workload::{Decision, MetricReading, ScalingLimit};

/// The result of one decision of an autoscaler.
pub(super) struct Report<'a> {
    pub spec: &'a HorizontalPodAutoscaler,
    /// `spec.replicas` of the target.
    pub current: u32,
    /// Existing pods of the target.
    pub pods: usize,
    /// One for each metric of the specification.
    pub metrics: &'a [Option<MetricReading>],
    pub decision: Decision,
    /// The ResourceQuota that rejected the change.
    pub refused: Option<String>,
    pub scaled_at: Option<Timestamp>,
}

impl Report<'_> {
    pub(super) fn json(&self) -> Value {
        let metrics = self.spec.metrics.iter().zip(self.metrics);
        let mut status = json!({
            "currentReplicas": self.pods,
            "desiredReplicas": self.decision.replicas,
            "currentMetrics": metrics.filter_map(shown).collect::<Vec<_>>(),
            "conditions": self.conditions(),
        });
        if let Some(at) = self.scaled_at {
            status["lastScaleTime"] = format!("{at:.0}").into();
        }
        status
    }

    fn conditions(&self) -> [Value; 3] {
        [self.able(), self.active(), self.limited()]
    }

    fn able(&self) -> Value {
        if let Some(quota) = &self.refused {
            let message = format!("the ResourceQuota {quota} leaves no room for more pods");
            return condition("AbleToScale", false, "FailedUpdateScale", &message);
        }
        match self.decision.limited {
            ScalingLimit::Stabilized => {
                let message = "keeping a recommendation from the stabilization window";
                condition("AbleToScale", true, "ScaleDownStabilized", message)
            }
            _ => condition(
                "AbleToScale",
                true,
                "ReadyForNewScale",
                "the target can be scaled",
            ),
        }
    }

    fn active(&self) -> Value {
        let known = self.metrics.iter().any(Option::is_some);
        let (reason, message) = match (self.current, known) {
            (0, _) => ("ScalingDisabled", "the target's replicas are set to 0"),
            (_, true) => ("ValidMetricFound", "metrics are measured"),
            (_, false) => (
                "FailedGetResourceMetric",
                "no metric is available: pods are new or not ready, or their template sets no \
                 resource request",
            ),
        };
        condition(
            "ScalingActive",
            reason == "ValidMetricFound",
            reason,
            message,
        )
    }

    fn limited(&self) -> Value {
        let (reason, message) = match self.decision.limited {
            ScalingLimit::TooFew => ("TooFewReplicas", "minReplicas holds"),
            ScalingLimit::TooMany => ("TooManyReplicas", "maxReplicas holds"),
            ScalingLimit::Rate => ("ScaleUpLimit", "a scaling policy limits the change"),
            ScalingLimit::No | ScalingLimit::Stabilized => (
                "DesiredWithinRange",
                "the desired count is within the acceptable range",
            ),
        };
        let holds = reason != "DesiredWithinRange";
        condition("ScalingLimited", holds, reason, message)
    }
}

/// The status of an autoscaler whose target does not exist.
pub(super) fn without_target(target: &ObjectKey) -> Value {
    let message = format!("the scale target {target} does not exist");
    let able = condition("AbleToScale", false, "FailedGetScale", &message);
    json!({ "conditions": [able] })
}

pub(super) fn with_generation(mut status: Value, generation: u64) -> Value {
    status["observedGeneration"] = generation.into();
    status
}

/// An entry of `status.currentMetrics`.
fn shown((metric, measured): (&ScalingMetric, &Option<MetricReading>)) -> Option<Value> {
    let ratio = measured.as_ref()?.ratio;
    Some(match metric {
        ScalingMetric::Resource { resource, target } => {
            let name = match resource {
                ScaledResource::Cpu => "cpu",
                ScaledResource::Memory => "memory",
            };
            let current = match target {
                ResourceTarget::Utilization(percent) => {
                    let utilization = (ratio * f64::from(*percent)).round() as u64;
                    json!({ "averageUtilization": utilization })
                }
                ResourceTarget::AverageValue(value) => average(ratio, *value),
            };
            json!({"type": "Resource", "resource": {"name": name, "current": current}})
        }
        ScalingMetric::Pods {
            name,
            average: target,
        } => {
            let current = average(ratio, *target);
            json!({"type": "Pods", "pods": {"metric": {"name": name}, "current": current}})
        }
    })
}

fn average(ratio: f64, target: Quantity) -> Value {
    let millis = (ratio * target.millis as f64).round() as u64;
    json!({ "averageValue": format!("{millis}m") })
}

fn condition(name: &str, holds: bool, reason: &str, message: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    json!({"type": name, "status": status, "reason": reason, "message": message})
}
