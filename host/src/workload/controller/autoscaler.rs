//! The decision of a HorizontalPodAutoscaler: the number of replicas, given the usage of
//! the pods and the previous decisions.
//!
//! The algorithm is that of Kubernetes: the ratio of usage to target, a tolerance of 10 %,
//! stabilization windows against short fluctuations, and policies that limit the rate of
//! change.

use std::time::{Duration, Instant};

use galleria_manifest::model::{
    HorizontalPodAutoscaler, IntOrPercent, ScalingPolicy, ScalingRules, SelectPolicy,
};

/// `--horizontal-pod-autoscaler-tolerance`: ratios this close to 1 cause no change.
const TOLERANCE: f64 = 0.1;

/// The longest window and period that manifests can set.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// One metric at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MetricReading {
    /// Mean usage of the measured pods divided by the target.
    pub ratio: f64,
    /// Pods with a measurement.
    pub pods: u32,
    /// Pods without a measurement, because they are not ready or too new.
    pub missing: u32,
}

/// The recent recommendations and changes of one autoscaler.
#[derive(Debug, Default)]
pub(crate) struct Autoscaler {
    recommended: Vec<(Instant, u32)>,
    /// Changes of `replicas`; negative for a decrease.
    scaled: Vec<(Instant, i64)>,
}

/// Why the number is not the one that the metrics recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalingLimit {
    No,
    TooFew,
    TooMany,
    /// By a policy.
    Rate,
    /// By a window.
    Stabilized,
}

/// The result: the number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub replicas: u32,
    pub limited: ScalingLimit,
}

impl Autoscaler {
    /// `metrics` has one entry for each metric; None if it could not be measured.
    pub(crate) fn decide(
        &mut self,
        spec: &HorizontalPodAutoscaler,
        current: u32,
        metrics: &[Option<MetricReading>],
        now: Instant,
    ) -> Decision {
        let bounded = current.clamp(spec.min_replicas, spec.max_replicas);
        if current == 0 || bounded != current {
            // Independent of the metrics: 0 disables scaling, and bounds apply at once.
            let replicas = if current == 0 { 0 } else { bounded };
            self.note(current, replicas, now);
            let limited = ScalingLimit::No;
            return Decision { replicas, limited };
        }
        let Some(wanted) = wanted(current, metrics) else {
            let limited = ScalingLimit::No;
            return Decision {
                replicas: current,
                limited,
            };
        };
        let stable = self.stabilize(spec, current, wanted, now);
        let decision = self.bound(spec, current, stable, now);
        self.note(current, decision.replicas, now);
        match decision.limited {
            ScalingLimit::No if stable != wanted => Decision {
                limited: ScalingLimit::Stabilized,
                ..decision
            },
            _ => decision,
        }
    }

    /// Limits an increase to the lowest recommendation within the scale-up window, and a
    /// decrease to the highest one within the scale-down window.
    fn stabilize(
        &mut self,
        spec: &HorizontalPodAutoscaler,
        current: u32,
        wanted: u32,
        now: Instant,
    ) -> u32 {
        self.recommended
            .retain(|(at, _)| now.saturating_duration_since(*at) < REMEMBERED);
        let within = |rules: &ScalingRules| {
            let window = rules.stabilization;
            self.recommended
                .iter()
                .filter(move |(at, _)| now.saturating_duration_since(*at) < window)
                .map(|(_, replicas)| *replicas)
        };
        let up = within(&spec.scale_up).chain([wanted]).min();
        let down = within(&spec.scale_down).chain([wanted]).max();
        let (up, down) = (up.unwrap_or(wanted), down.unwrap_or(wanted));
        self.recommended.push((now, wanted));
        if current < up {
            up
        } else if current > down {
            down
        } else {
            current
        }
    }

    /// Limits `wanted` by the policies and the bounds.
    fn bound(
        &self,
        spec: &HorizontalPodAutoscaler,
        current: u32,
        wanted: u32,
        now: Instant,
    ) -> Decision {
        let by = |replicas, limited| Decision { replicas, limited };
        if wanted > current {
            let most = self.most(&spec.scale_up, current, now);
            let most_limit = most.min(spec.max_replicas);
            if wanted > most_limit {
                let limited = match most < spec.max_replicas {
                    true => ScalingLimit::Rate,
                    false => ScalingLimit::TooMany,
                };
                return by(most_limit.max(current), limited);
            }
        } else if wanted < current {
            let least = self.least(&spec.scale_down, current, now);
            let least_limit = least.max(spec.min_replicas);
            if wanted < least_limit {
                let limited = match least > spec.min_replicas {
                    true => ScalingLimit::Rate,
                    false => ScalingLimit::TooFew,
                };
                return by(least_limit.min(current), limited);
            }
        }
        by(wanted, ScalingLimit::No)
    }

    /// The maximum that the policies allow now.
    fn most(&self, rules: &ScalingRules, current: u32, now: Instant) -> u32 {
        let allowed = |policy: &ScalingPolicy| {
            let added = self.changed(policy.period, now, 1);
            let start = current.saturating_sub(added);
            match policy.change {
                IntOrPercent::Int(pods) => start.saturating_add(pods),
                IntOrPercent::Percent(percent) => {
                    let most = u64::from(start) * (100 + u64::from(percent));
                    u32::try_from(most.div_ceil(100)).unwrap_or(u32::MAX)
                }
            }
        };
        let allowed = rules.policies.iter().map(allowed);
        match rules.select {
            SelectPolicy::Max => allowed.max().unwrap_or(u32::MAX),
            SelectPolicy::Min => allowed.min().unwrap_or(u32::MAX),
            SelectPolicy::Disabled => current,
        }
    }

    /// The minimum that the policies allow now.
    fn least(&self, rules: &ScalingRules, current: u32, now: Instant) -> u32 {
        let allowed = |policy: &ScalingPolicy| {
            let start = current.saturating_add(self.changed(policy.period, now, -1));
            match policy.change {
                IntOrPercent::Int(pods) => start.saturating_sub(pods),
                IntOrPercent::Percent(percent) => {
                    let left = u64::from(100_u32.saturating_sub(percent));
                    u32::try_from(u64::from(start) * left / 100).unwrap_or(0)
                }
            }
        };
        let allowed = rules.policies.iter().map(allowed);
        match rules.select {
            SelectPolicy::Max => allowed.min().unwrap_or(0),
            SelectPolicy::Min => allowed.max().unwrap_or(0),
            SelectPolicy::Disabled => current,
        }
    }

    /// Pods added (or removed, where `sign` is negative) within `period`.
    fn changed(&self, period: Duration, now: Instant, sign: i64) -> u32 {
        let within = |at: &Instant| now.saturating_duration_since(*at) < period;
        let changes = self.scaled.iter().filter(|(at, _)| within(at));
        let sum: i64 = changes.map(|(_, change)| (change * sign).max(0)).sum();
        u32::try_from(sum).unwrap_or(u32::MAX)
    }

    fn note(&mut self, before: u32, after: u32, now: Instant) {
        self.scaled
            .retain(|(at, _)| now.saturating_duration_since(*at) < REMEMBERED);
        if before != after {
            self.scaled
                .push((now, i64::from(after) - i64::from(before)));
        }
    }
}

/// The highest recommendation of all metrics. None if no metric is known, or if the known
/// metrics recommend a decrease that an unknown metric might prevent.
fn wanted(current: u32, metrics: &[Option<MetricReading>]) -> Option<u32> {
    let recommended = metrics
        .iter()
        .flatten()
        .map(|it| it.replicas(current))
        .max()?;
    let all_known = metrics.iter().all(Option::is_some);
    (all_known || recommended >= current).then_some(recommended)
}

impl MetricReading {
    fn replicas(&self, current: u32) -> u32 {
        let near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        if self.pods == 0 || near(self.ratio) {
            return current;
        }
        let (pods, all) = (f64::from(self.pods), f64::from(self.pods + self.missing));
        // Pods without a measurement dampen the change: they count as idle for an increase,
        // and as on target for a decrease.
        let ratio = match self.ratio > 1.0 {
            true => self.ratio * pods / all,
            false => (self.ratio * pods + f64::from(self.missing)) / all,
        };
        if near(ratio) || (ratio > 1.0) != (self.ratio > 1.0) {
            return current;
        }
        let replicas = (ratio * all).ceil() as u32;
        match ratio > 1.0 {
            true => replicas.max(current),
            false => replicas.min(current),
        }
    }
}

#[cfg(test)]
mod tests;
