//! Analysis: judges a canary by the results of its requests.
//!
//! Every metric is a share of bad requests: answered with 5xx, or slow. A check fails if
//! a canary whose share is at the limit would look this bad in at most one of a thousand
//! checks. It passes if the share is within the limit and there were enough requests to
//! notice a share far above it. Otherwise the check needs more requests. The share of the
//! stable version raises the limit: a failure of both versions is not the canary's.

use galleria_manifest::model::CanaryMetric;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::telemetry::tally::RequestCounts;

/// The probability that a check fails a canary whose share is at the limit.
const SIGNIFICANCE: f64 = 0.001;

/// The smallest number of requests for a check, for any limit.
const REQUESTS_MIN: u64 = 50;

/// The normal quantile of a one-sided bound of 99.9 % for the stable version's share.
const BOUND: f64 = 3.09;

/// Without a range, the limit for the canary's median in multiples of the stable one.
const SLOWER_MAX: f64 = 1.5;

/// Microseconds by which the medians may always differ.
const DIFFERENCE_MIN: f64 = 1_000.0;

/// The share of requests that may be slower than `thresholdRange.max`, which limits the
/// 99th percentile.
const SLOW_MAX: f64 = 0.01;

/// The result of a check, with a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail(String),
    /// More requests are needed.
    Undecided(String),
}

/// Judges a canary by its requests and those of the stable version in the same time.
pub(crate) fn judge(
    metrics: &[CanaryMetric],
    canary: &RequestCounts,
    stable: &RequestCounts,
) -> Verdict {
    let mut verdict = Verdict::Pass;
    for metric in metrics {
        let judged = match metric {
            CanaryMetric::SuccessRate { min } => success_rate(*min, canary, stable),
            CanaryMetric::Duration { max } => {
                slow(max.as_micros() as f64, SLOW_MAX, canary, Some(stable))
            }
            CanaryMetric::DurationAgainstStable if stable.requests < REQUESTS_MIN => {
                let seen = stable.requests;
                Verdict::Undecided(format!(
                    "{seen} requests of the stable version are too few to compare with"
                ))
            }
            CanaryMetric::DurationAgainstStable => {
                let median = stable.durations.value_at_quantile(0.5) as f64;
                let max = (median * SLOWER_MAX).max(median + DIFFERENCE_MIN);
                slow(max, 0.5, canary, None)
            }
        };
        match judged {
            Verdict::Fail(_) => return judged,
            Verdict::Undecided(_) if verdict == Verdict::Pass => verdict = judged,
            _ => {}
        }
    }
    verdict
}

fn success_rate(min: f64, canary: &RequestCounts, stable: &RequestCounts) -> Verdict {
    let allowed = 1.0 - min / 100.0;
    let limit = allowed.max(bound(stable.failures, stable.requests));
    share(canary.failures, canary.requests, limit, |share| {
        let (is, limit) = (100.0 * (1.0 - share), 100.0 * (1.0 - limit));
        format!("success rate {is:.2}% < {limit:.2}%")
    })
}

/// Judges the share of requests that took more than `max` microseconds.
fn slow(max: f64, allowed: f64, canary: &RequestCounts, stable: Option<&RequestCounts>) -> Verdict {
    let slower = |of: &RequestCounts| {
        let upto = of.durations.count_between(0, max as u64);
        of.requests.saturating_sub(upto)
    };
    let of_stable = stable.map_or(0.0, |stable| bound(slower(stable), stable.requests));
    let limit = allowed.max(of_stable);
    share(slower(canary), canary.requests, limit, |share| {
        format!(
            "{:.1}% of requests took more than {:.1} ms, {:.1}% allowed",
            100.0 * share,
            max / 1_000.0,
            100.0 * limit
        )
    })
}

/// Judges `bad` of `seen` requests against the allowed share.
fn share(bad: u64, seen: u64, limit: f64, text: impl Fn(f64) -> String) -> Verdict {
    let needed = REQUESTS_MIN.max((3.0 / limit).ceil() as u64);
    let share = bad as f64 / seen.max(1) as f64;
    if bad > 0
        && let Ok(at_limit) = Binomial::new(limit.min(1.0), seen)
        && at_limit.sf(bad - 1) < SIGNIFICANCE
    {
        return Verdict::Fail(text(share));
    }
    if seen < needed {
        return Verdict::Undecided(format!("{seen} of {needed} requests seen"));
    }
    if share > limit {
        return Verdict::Undecided(format!("{}, possibly by chance", text(share)));
    }
    Verdict::Pass
}

/// The upper bound of Wilson's interval for `bad` of `seen` requests; 0 if these are too
/// few.
fn bound(bad: u64, seen: u64) -> f64 {
    if seen < REQUESTS_MIN {
        return 0.0;
    }
    let (seen, share) = (seen as f64, bad as f64 / seen as f64);
    let square = BOUND * BOUND;
    let middle = share + square / (2.0 * seen);
    let spread = BOUND * (share * (1.0 - share) / seen + square / (4.0 * seen * seen)).sqrt();
    (middle + spread) / (1.0 + square / seen)
}

#[cfg(test)]
mod tests;
