//! HorizontalPodAutoscaler.

use std::time::Duration;

use super::{IntOrPercent, Quantity};
use crate::Located;

#[derive(Debug, Clone)]
pub struct HorizontalPodAutoscaler {
    /// `scaleTargetRef`, an object of `apps`.
    pub target_kind: Located<String>,
    pub target_name: Located<String>,
    /// 1 where absent.
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// CPU at 80 % where none is named.
    pub metrics: Vec<ScalingMetric>,
    pub scale_up: ScalingRules,
    pub scale_down: ScalingRules,
}

/// What is measured, and what it should be for each pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalingMetric {
    Resource {
        resource: ScaledResource,
        target: ResourceTarget,
    },
    /// A number that each pod has, by name.
    Pods { name: String, average: Quantity },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaledResource {
    Cpu,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceTarget {
    /// Percent of what the pods request.
    Utilization(u32),
    AverageValue(Quantity),
}

/// One direction of `behavior`, defaults filled in.
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
