//! Flagger's Canary: how a new version gets its traffic step by step.

use std::time::Duration;

use crate::{Position, WithPosition};

#[derive(Debug, Clone)]
pub struct Canary {
    /// `targetRef.name`: the Deployment that has the new version.
    pub target: WithPosition<String>,
    /// `service.name`: the VirtualService whose weights are shifted; by default it has the name
    /// of the target.
    pub route: WithPosition<String>,
    /// [`Canary::RULE_ANNOTATION`]: the name of the only rule whose weights are shifted.
    pub rule: Option<WithPosition<String>>,
    /// `suspend`: no step is taken.
    pub suspended: bool,
    /// `skipAnalysis`: a new version is promoted at once.
    pub skip_analysis: bool,
    /// `progressDeadlineSeconds`, 600 by default: the longest duration of one step.
    pub progress_deadline: Duration,
    pub analysis: CanaryAnalysis,
}

impl Canary {
    /// The annotation that selects the rule whose weights a Canary changes.
    pub const RULE_ANNOTATION: &str = "galleria.dev/route";
}

#[derive(Debug, Clone, PartialEq)]
pub struct CanaryAnalysis {
    pub at: Position,
    /// 60 s by default.
    pub interval: Duration,
    /// Failed checks of a run until it is rolled back; 1 by default.
    pub threshold: u32,
    /// The canary's percentages in order, before it gets all traffic: from `stepWeight` and
    /// `maxWeight`, or `stepWeights`. At least one.
    pub weights: Vec<u32>,
    /// `request-success-rate` of at least 99 and `request-duration` where none is named.
    pub metrics: Vec<CanaryMetric>,
}

/// What is asked of the canary's requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CanaryMetric {
    /// `request-success-rate`: percent that must not be answered by 5xx.
    SuccessRate { min: f64 },
    /// `request-duration` with `thresholdRange.max`: the 99th percentile.
    Duration { max: Duration },
    /// `request-duration` without a range: the median, against the stable version's.
    DurationAgainstStable,
}
