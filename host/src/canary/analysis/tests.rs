//! Single checks, and many complete runs with random requests.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const METRICS: [CanaryMetric; 2] = [
    CanaryMetric::SuccessRate { min: 99.0 },
    CanaryMetric::DurationAgainstStable,
];

/// `requests` of equal duration, of which `failures` fail.
fn observed(requests: u64, failures: u64, millis: u64) -> RequestCounts {
    let mut observed = RequestCounts::default();
    for request in 0..requests {
        observed.record(request < failures, Duration::from_millis(millis));
    }
    observed
}

#[test]
fn few_requests_decide_only_if_they_are_significantly_bad() {
    let stable = observed(1_000, 0, 10);
    let judged = |requests, failures| judge(&METRICS, &observed(requests, failures, 10), &stable);
    assert_eq!(
        judged(20, 0),
        Verdict::Undecided("20 of 300 requests seen".into())
    );
    assert_eq!(judged(400, 0), Verdict::Pass);
    assert!(
        matches!(judged(400, 6), Verdict::Undecided(_)),
        "1.5 % may be chance"
    );
    assert_eq!(
        judged(20, 5),
        Verdict::Fail("success rate 75.00% < 99.00%".into())
    );
}

#[test]
fn failures_of_both_versions_do_not_fail_the_canary() {
    let bad = observed(1_000, 100, 10);
    assert_eq!(judge(&METRICS, &bad, &bad), Verdict::Pass);
    let good = observed(1_000, 0, 10);
    assert!(matches!(judge(&METRICS, &bad, &good), Verdict::Fail(_)));
}

#[test]
fn durations_are_compared_with_a_limit_or_with_the_stable_version() {
    let stable = observed(1_000, 0, 10);
    let limit = [CanaryMetric::Duration {
        max: Duration::from_millis(50),
    }];
    let slow = observed(400, 0, 60);
    assert!(matches!(judge(&limit, &slow, &stable), Verdict::Fail(_)));
    assert_eq!(judge(&limit, &observed(400, 0, 30), &stable), Verdict::Pass);
    let median = judge(&METRICS, &observed(400, 0, 30), &stable);
    assert!(matches!(median, Verdict::Fail(text) if text.contains("more than 1")));
    assert_eq!(
        judge(&METRICS, &observed(400, 0, 14), &stable),
        Verdict::Pass
    );
    let alone = judge(&METRICS, &observed(400, 0, 14), &RequestCounts::default());
    assert!(matches!(alone, Verdict::Undecided(_)));
}

/// The behaviour of a version.
#[derive(Clone, Copy)]
struct Version {
    failing: f64,
    /// The median in milliseconds; requests take between a seventh and seven times as long.
    duration: f64,
}

const STABLE: Version = Version {
    failing: 0.005,
    duration: 20.0,
};

impl Version {
    fn serve(self, requests: u64, random: &mut impl Rng, observed: &mut RequestCounts) {
        for _ in 0..requests {
            let failed = random.random_bool(self.failing);
            // A sum of uniform numbers in the exponent gives a skewed distribution.
            let spread: f64 = (0..4).map(|_| random.random_range(-0.5..0.5)).sum();
            let millis = self.duration * spread.exp();
            observed.record(failed, Duration::from_secs_f64(millis / 1_000.0));
        }
    }
}

/// The result of a run.
struct Outcome {
    promoted: bool,
    intervals: u32,
    /// The share of all requests that the canary got.
    exposed: f64,
}

/// A run with weights of 10, 20 … 50 % and `traffic` requests per interval that is rolled
/// back after `threshold` failed checks.
fn run(canary: Version, traffic: u64, threshold: u32, random: &mut impl Rng) -> Outcome {
    let (mut weight, mut failed, mut intervals) = (10, 0, 0);
    let (mut of_canary, mut of_stable) = (RequestCounts::default(), RequestCounts::default());
    let (mut exposed, mut all) = (0, 0);
    loop {
        intervals += 1;
        let share = traffic * weight / 100;
        canary.serve(share, random, &mut of_canary);
        STABLE.serve(traffic - share, random, &mut of_stable);
        exposed += share;
        all += traffic;
        match judge(&METRICS, &of_canary, &of_stable) {
            Verdict::Undecided(_) => continue,
            Verdict::Pass => weight += 10,
            Verdict::Fail(_) => failed += 1,
        }
        if weight > 50 || failed >= threshold {
            return Outcome {
                promoted: failed < threshold,
                intervals,
                exposed: exposed as f64 / all as f64,
            };
        }
        (of_canary, of_stable) = (RequestCounts::default(), RequestCounts::default());
    }
}

/// The share of `runs` that were promoted, the mean number of intervals, and the largest
/// share of requests that a canary got.
fn runs(canary: Version, threshold: u32, seed: u64, runs: u32) -> (f64, f64, f64) {
    let mut random = StdRng::seed_from_u64(seed);
    let outcomes: Vec<_> = (0..runs)
        .map(|_| run(canary, 1_000, threshold, &mut random))
        .collect();
    let promoted = outcomes.iter().filter(|it| it.promoted).count() as f64;
    let intervals: u32 = outcomes.iter().map(|it| it.intervals).sum();
    let exposed = outcomes.iter().map(|it| it.exposed).fold(0.0, f64::max);
    let result = (
        promoted / f64::from(runs),
        f64::from(intervals) / f64::from(runs),
        exposed,
    );
    println!("seed {seed}: promoted, mean intervals, largest share: {result:?}");
    result
}

#[test]
fn canary_like_the_stable_version_is_rarely_rolled_back() {
    let (promoted, intervals, _) = runs(STABLE, 1, 1, 2_000);
    assert!(promoted >= 0.99, "{promoted}");
    assert!(intervals < 12.0, "{intervals}");
}

#[test]
fn canary_with_five_percent_errors_is_always_rolled_back_early() {
    let bad = Version {
        failing: 0.05,
        ..STABLE
    };
    let (promoted, intervals, exposed) = runs(bad, 1, 2, 300);
    assert!(promoted == 0.0, "{promoted}");
    assert!(intervals < 4.0, "{intervals}");
    assert!(exposed <= 0.11, "{exposed}");
}

#[test]
fn canary_three_times_as_slow_is_always_rolled_back_early() {
    let slow = Version {
        duration: 3.0 * STABLE.duration,
        ..STABLE
    };
    let (promoted, intervals, exposed) = runs(slow, 3, 3, 300);
    assert!(promoted == 0.0, "{promoted}");
    assert!(intervals < 4.5, "{intervals}");
    assert!(exposed <= 0.11, "{exposed}");
}
