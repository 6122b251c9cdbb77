//! The arithmetic of `limits.cpu`: a quota that is refilled in every period, like the kernel's
//! CFS bandwidth control. The current time is a parameter.
//!
//! A pod may spend its quota at any speed, and is then paused. Guests stop only at ticks, so a
//! pod can spend more than its quota: the excess is deducted from the following periods, so
//! that the limit holds on average. An unspent quota is lost.

use std::time::{Duration, Instant};

/// The default of the kernel and the kubelet.
const PERIOD: Duration = Duration::from_millis(100);

/// The minimum quota of a period, as in the kubelet: 1 % of a core.
const QUOTA_MIN: Duration = Duration::from_millis(1);

/// The account of a pod.
#[derive(Debug)]
pub(super) struct Budget {
    /// The quota of each period, in nanoseconds over all cores.
    quota: i64,
    /// The start of the current period.
    period_began: Instant,
    /// The nanoseconds that are left in the period; negative if too much was spent.
    left: i64,
    /// The end of the latest pause.
    paused_until: Instant,
    throttling: Throttling,
}

/// How much a pod was throttled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// The number of periods in which it was paused.
    pub periods: u64,
    /// The total duration of its pauses.
    pub time: Duration,
}

impl Budget {
    /// `limit` is in thousandths of a core.
    pub(super) fn new(limit: u64, now: Instant) -> Self {
        let quota = nanos(PERIOD).saturating_mul(i64::try_from(limit).unwrap_or(i64::MAX)) / 1000;
        let quota = quota.max(nanos(QUOTA_MIN));
        Self {
            quota,
            period_began: now,
            left: quota,
            paused_until: now,
            throttling: Throttling::default(),
        }
    }

    /// Deducts the time that a guest has used.
    pub(super) fn charge(&mut self, spent: Duration, now: Instant) {
        self.fill_up(now);
        self.left = self.left.saturating_sub(nanos(spent));
    }

    /// When a guest may run; `None` means now. A pause is counted when this is called for the
    /// first time.
    pub(super) fn resumes_at(&mut self, now: Instant) -> Option<Instant> {
        self.fill_up(now);
        if self.left > 0 {
            return None;
        }
        let periods = u32::try_from(-self.left / self.quota + 1).unwrap_or(u32::MAX);
        let resumes = self.period_began + PERIOD * periods;
        if resumes > self.paused_until {
            let counted_to = self.paused_until.max(now);
            self.throttling.time += resumes - counted_to;
            self.throttling.periods += periods_between(counted_to.max(self.period_began), resumes);
            self.paused_until = resumes;
        }
        Some(resumes)
    }

    pub(super) fn throttling(&self) -> Throttling {
        self.throttling
    }

    fn fill_up(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.period_began);
        let Ok(periods) = u32::try_from(elapsed.as_nanos() / PERIOD.as_nanos()) else {
            return;
        };
        if periods > 0 {
            self.period_began += PERIOD * periods;
            let filled = self.quota.saturating_mul(i64::from(periods));
            self.left = self.left.saturating_add(filled).min(self.quota);
        }
    }
}

/// How many periods the time from `begin` to `end` touches, where `end` is the end of a
/// period.
fn periods_between(begin: Instant, end: Instant) -> u64 {
    let nanos = (end - begin).as_nanos();
    u64::try_from(nanos.div_ceil(PERIOD.as_nanos())).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A budget of 20 ms per period, and its start.
    fn budget() -> (Budget, Instant) {
        let began = Instant::now();
        (Budget::new(200, began), began)
    }

    #[test]
    fn quota_can_be_spent_in_one_burst() {
        let (mut budget, began) = budget();
        budget.charge(ms(19), began + ms(10));
        assert_eq!(budget.resumes_at(began + ms(10)), None);
        assert_eq!(budget.throttling(), Throttling::default());
    }

    #[test]
    fn pod_without_quota_waits_for_the_next_period() {
        let (mut budget, began) = budget();
        budget.charge(ms(20), began + ms(30));
        assert_eq!(budget.resumes_at(began + ms(30)), Some(began + ms(100)));
        assert_eq!(budget.resumes_at(began + ms(99)), Some(began + ms(100)));
        assert_eq!(budget.resumes_at(began + ms(100)), None);
        let (periods, time) = (1, ms(70));
        assert_eq!(budget.throttling(), Throttling { periods, time });
    }

    #[test]
    fn excess_is_deducted_from_the_following_periods() {
        let (mut budget, began) = budget();
        budget.charge(ms(65), began + ms(40));
        // A debt of 45 ms: it takes two periods and a part of the third.
        assert_eq!(budget.resumes_at(began + ms(40)), Some(began + ms(300)));
        assert_eq!(budget.resumes_at(began + ms(300)), None);
        budget.charge(ms(14), began + ms(310));
        assert_eq!(budget.resumes_at(began + ms(310)), None);
        budget.charge(ms(1), began + ms(311));
        assert_eq!(budget.resumes_at(began + ms(311)), Some(began + ms(400)));
    }

    #[test]
    fn unspent_quota_is_lost() {
        let (mut budget, began) = budget();
        budget.charge(ms(1), began);
        let later = began + ms(5_050);
        budget.charge(ms(20), later);
        assert_eq!(budget.resumes_at(later), Some(began + ms(5_100)));
    }

    #[test]
    fn pause_counts_once_and_grows_with_further_spending() {
        let (mut budget, began) = budget();
        budget.charge(ms(20), began + ms(50));
        for _ in 0..5 {
            budget.resumes_at(began + ms(50));
        }
        let first = Throttling {
            periods: 1,
            time: ms(50),
        };
        assert_eq!(budget.throttling(), first);
        // Another instance was still in its turn.
        budget.charge(ms(5), began + ms(55));
        assert_eq!(budget.resumes_at(began + ms(55)), Some(began + ms(100)));
        assert_eq!(budget.throttling(), first);
        budget.charge(ms(20), began + ms(60));
        assert_eq!(budget.resumes_at(began + ms(60)), Some(began + ms(200)));
        let all = Throttling {
            periods: 2,
            time: ms(150),
        };
        assert_eq!(budget.throttling(), all);
    }

    #[test]
    fn limit_holds_on_average() {
        for limit in [1, 50, 200, 1000, 2500] {
            let began = Instant::now();
            let mut budget = Budget::new(limit, began);
            let (mut now, mut used) = (began, Duration::ZERO);
            while now < began + ms(60_000) {
                match budget.resumes_at(now) {
                    Some(resumes) => now = resumes,
                    None => {
                        // Four instances, each until its next tick.
                        now += ms(5);
                        used += ms(20);
                        budget.charge(ms(20), now);
                    }
                }
            }
            let allowed = ms(60 * limit.max(10)).min(ms(240_000));
            let off = used.abs_diff(allowed);
            assert!(off <= ms(250), "{limit}m: {used:?} of {allowed:?}");
        }
    }
}
