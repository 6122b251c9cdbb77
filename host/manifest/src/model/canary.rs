//! Flagger's Canary: when a new version gets more of the traffic.

use std::time::Duration;

use crate::{Located, Position};

#[derive(Debug, Clone)]
pub struct Canary {
    /// `targetRef.name`: the Deployment that has the new version.
    pub target: Located<String>,
    /// `service.name`: the VirtualService whose weights are shifted; the target's
    /// name where absent.
    pub route: Located<String>,
    /// `suspend`: nothing is decided.
    pub suspended: bool,
    /// `skipAnalysis`: what begins is promoted.
    pub skip_analysis: bool,
    /// `progressDeadlineSeconds`, 600 where absent: how long one weight may last.
    pub progress_deadline: Duration,
    pub analysis: CanaryAnalysis,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CanaryAnalysis {
    pub at: Position,
    /// 60 s where absent.
    pub interval: Duration,
    /// Failed checks, over a whole run, until it is rolled back; 1 where absent.
    pub threshold: u32,
    /// The canary's percentages, one after the other, before it gets everything;
    /// from `stepWeight` and `maxWeight`, or `stepWeights`. At least one.
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
