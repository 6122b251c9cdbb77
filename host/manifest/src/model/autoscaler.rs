//! HorizontalPodAutoscaler.

use std::time::Duration;

use super::{IntOrPercent, Quantity};
use crate::WithPosition;

#[derive(Debug, Clone)]
pub struct HorizontalPodAutoscaler {
    /// `scaleTargetRef`, an object of `apps`.
    pub target_kind: WithPosition<String>,
    pub target_name: WithPosition<String>,
    /// 1 by default.
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// CPU at 80 % by default.
    pub metrics: Vec<ScalingMetric>,
    pub scale_up: ScalingRules,
    pub scale_down: ScalingRules,
}

/// A metric with its target per pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalingMetric {
    Resource {
        resource: ScaledResource,
        target: ResourceTarget,
    },
    /// A metric of each pod, by name.
    Pods { name: String, average: Quantity },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaledResource {
    Cpu,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceTarget {
    /// Percent of the requests of the pods.
    Utilization(u32),
    AverageValue(Quantity),
}

/// One direction of `behavior`, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingRules {
    pub stabilization: Duration,
    pub select: SelectPolicy,
    pub policies: Vec<ScalingPolicy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The policy that allows the largest change.
    Max,
    Min,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingPolicy {
    pub change: IntOrPercent,
    pub period: Duration,
}
