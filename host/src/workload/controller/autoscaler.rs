//! A HorizontalPodAutoscaler: from what the pods use, and what was done before,
//! to the number of replicas.
//!
//! Kubernetes' algorithm: the ratio of use to target, a tolerance of a tenth,
//! windows that hold back what may be a passing mood, policies that bound each
//! change.

use std::time::{Duration, Instant};

use galleria_manifest::model::{
    HorizontalPodAutoscaler, IntOrPercent, ScalingPolicy, ScalingRules, SelectPolicy,
};

/// `--horizontal-pod-autoscaler-tolerance`: ratios that are as good as 1.
const TOLERANCE: f64 = 0.1;

/// The longest window and period, as the manifests may have them.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// One metric at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Mean over the pods that were measured, in parts of the target: 1 is on it.
    pub ratio: f64,
    /// Pods with a value.
    pub pods: u32,
    /// Pods without one, since they are not ready or too new.
    pub missing: u32,
}

/// What an autoscaler remembers.
#[derive(Debug, Default)]
pub(crate) struct Autoscaler {
    recommended: Vec<(Instant, u32)>,
    /// Changes of `replicas`, negative downwards.
    scaled: Vec<(Instant, i64)>,
}

/// Why the number is not what the metrics ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    No,
    TooFew,
    TooMany,
    /// By a policy.
    Rate,
    /// By a window.
    Stabilized,
}

/// The number of replicas there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub replicas: u32,
    pub limited: Limited,
}

impl Autoscaler {
    /// `metrics` has one entry for each metric, none where it could not be measured.
    pub(crate) fn decide(
        &mut self,
        spec: &HorizontalPodAutoscaler,
        current: u32,
        metrics: &[Option<Measured>],
        now: Instant,
    ) -> Decision {
        let bounded = current.clamp(spec.min_replicas, spec.max_replicas);
        if current == 0 || bounded != current {
            // Nobody is asked: 0 switches it off, and the bounds hold at once.
            let replicas = if current == 0 { 0 } else { bounded };
            self.note(current, replicas, now);
            let limited = Limited::No;
            return Decision { replicas, limited };
        }
        let Some(wanted) = wanted(current, metrics) else {
            let limited = Limited::No;
            return Decision {
                replicas: current,
                limited,
            };
        };
        let stable = self.stabilize(spec, current, wanted, now);
        let decision = self.bound(spec, current, stable, now);
        self.note(current, decision.replicas, now);
        match decision.limited {
            Limited::No if stable != wanted => Decision {
                limited: Limited::Stabilized,
                ..decision
            },
            _ => decision,
        }
    }

    /// The least that was recommended within the window upwards, the most within
    /// the window downwards.
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

    /// What policies and the bounds leave of `wanted`.
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
                    true => Limited::Rate,
                    false => Limited::TooMany,
                };
                return by(most_limit.max(current), limited);
            }
        } else if wanted < current {
            let least = self.least(&spec.scale_down, current, now);
            let least_limit = least.max(spec.min_replicas);
            if wanted < least_limit {
                let limited = match least > spec.min_replicas {
                    true => Limited::Rate,
                    false => Limited::TooFew,
                };
                return by(least_limit.min(current), limited);
            }
        }
        by(wanted, Limited::No)
    }

    /// The most that the policies allow now.
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

    /// The least that the policies allow now.
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

/// The most that one of the metrics asks for; none where nothing is known, or
/// where what is not known might keep pods that the rest would stop.
fn wanted(current: u32, metrics: &[Option<Measured>]) -> Option<u32> {
    let asked = metrics
        .iter()
        .flatten()
        .map(|it| it.replicas(current))
        .max()?;
    let all_known = metrics.iter().all(Option::is_some);
    (all_known || asked >= current).then_some(asked)
}

impl Measured {
    fn replicas(&self, current: u32) -> u32 {
        let near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
        if self.pods == 0 || near(self.ratio) {
            return current;
        }
        let (pods, all) = (f64::from(self.pods), f64::from(self.pods + self.missing));
        // What is not known speaks against a change: unused where pods are
        // added, on target where they are taken away.
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
mod tests {
    use galleria_manifest::model::Resource;

    use super::*;

    fn spec(behavior: &str) -> HorizontalPodAutoscaler {
        let yaml = format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: a}}\nspec:\n  \
             scaleTargetRef: {{kind: Deployment, name: a}}\n  minReplicas: 2\n  maxReplicas: 20\n{behavior}"
        );
        let read = galleria_manifest::read_str("test.yaml".as_ref(), &yaml);
        match &read.objects.first().expect("read").resource {
            Resource::HorizontalPodAutoscaler(spec) => spec.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn at(ratio: f64, pods: u32) -> [Option<Measured>; 1] {
        let missing = 0;
        [Some(Measured {
            ratio,
            pods,
            missing,
        })]
    }

    /// The replicas after each of `(seconds, ratio)`, from `current` on.
    fn run(spec: &HorizontalPodAutoscaler, mut current: u32, story: &[(u64, f64)]) -> Vec<u32> {
        let start = Instant::now();
        let mut autoscaler = Autoscaler::default();
        let step = |(seconds, ratio): &(u64, f64)| {
            let now = start + Duration::from_secs(*seconds);
            current = autoscaler
                .decide(spec, current, &at(*ratio, current), now)
                .replicas;
            current
        };
        story.iter().map(step).collect()
    }

    #[test]
    fn use_over_target_grows_and_a_tenth_is_tolerated() {
        let spec = spec("");
        assert_eq!(run(&spec, 4, &[(0, 1.09), (15, 0.9), (30, 1.5)]), [4, 4, 6]);
    }

    #[test]
    fn growth_is_bounded_by_the_larger_of_its_policies_and_by_the_maximum() {
        let spec = spec("");
        let story = [(0, 9.0), (15, 9.0), (30, 9.0), (45, 9.0)];
        assert_eq!(run(&spec, 2, &story), [6, 12, 20, 20]);
    }

    #[test]
    fn what_was_wanted_within_five_minutes_is_kept() {
        let spec = spec("");
        let story = [(0, 1.0), (15, 0.2), (300, 0.2), (315, 0.2), (330, 0.2)];
        assert_eq!(run(&spec, 10, &story), [10, 10, 2, 2, 2]);
        let story = [(0, 0.9), (15, 0.6), (200, 0.3), (301, 0.3), (316, 0.3)];
        assert_eq!(
            run(&spec, 10, &story),
            [10, 10, 10, 6, 3],
            "the most of each window"
        );
    }

    #[test]
    fn behavior_is_obeyed() {
        let slow = spec(
            "  behavior:\n    scaleUp: {stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 60}]}\n    \
             scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 30}, {type: Percent, value: 50, periodSeconds: 30}]}\n",
        );
        let story = [(0, 1.0), (15, 3.0), (60, 3.0), (75, 3.0), (120, 3.0)];
        assert_eq!(run(&slow, 4, &story), [4, 4, 5, 5, 6]);
        let story = [(0, 0.1), (15, 0.1), (30, 0.1)];
        assert_eq!(run(&slow, 9, &story), [8, 8, 7]);
        let never = spec("  behavior: {scaleDown: {selectPolicy: Disabled}}\n");
        assert_eq!(run(&never, 9, &[(0, 0.1), (1_000, 0.1)]), [9, 9]);
    }

    #[test]
    fn bounds_hold_at_once_and_nothing_is_scaled_up_from_zero() {
        let spec = spec("");
        assert_eq!(run(&spec, 1, &[(0, 1.0)]), [2]);
        assert_eq!(run(&spec, 50, &[(0, 9.0)]), [20]);
        assert_eq!(run(&spec, 0, &[(0, 9.0)]), [0]);
    }

    #[test]
    fn pods_that_are_not_measured_hold_back_a_change() {
        let wanted_of = |ratio, pods, missing| {
            let measured = Measured {
                ratio,
                pods,
                missing,
            };
            wanted(pods + missing, &[Some(measured)])
        };
        assert_eq!(wanted_of(2.0, 4, 0), Some(8));
        assert_eq!(
            wanted_of(2.0, 2, 2),
            Some(4),
            "the new ones will take their share"
        );
        assert_eq!(wanted_of(0.5, 2, 2), Some(3));
        assert_eq!(wanted(4, &[None]), None);
        let low = Measured {
            ratio: 0.2,
            pods: 4,
            missing: 0,
        };
        assert_eq!(
            wanted(4, &[Some(low), None]),
            None,
            "not down with half the truth"
        );
        let high = Measured { ratio: 2.0, ..low };
        assert_eq!(wanted(4, &[Some(high), None]), Some(8));
    }
}
