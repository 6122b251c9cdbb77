//! `limits.cpu` as arithmetic: a quota that is filled up at every period, as
//! the kernel does it (CFS bandwidth control). Time is passed in.
//!
//! A pod may spend its quota as fast as it likes and is paused then. What it
//! spent beyond it, because it is stopped at ticks only, is taken from the
//! periods that follow, so on average the limit holds. What it left unspent
//! is lost.

use std::time::{Duration, Instant};

/// The kernel's default, and the kubelet's.
const PERIOD: Duration = Duration::from_millis(100);

/// The least that a period gives, as the kubelet has it: 1 % of a core.
const QUOTA_MIN: Duration = Duration::from_millis(1);

/// A pod's account.
#[derive(Debug)]
pub(super) struct Budget {
    /// What each period gives, in nanoseconds over all cores.
    quota: i64,
    /// When the present period began.
    period_began: Instant,
    /// Nanoseconds left in it; below zero is a debt.
    left: i64,
    /// The end of the latest pause.
    paused_until: Instant,
    throttling: Throttling,
}

/// How much a pod was held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Throttling {
    /// Periods in which it was paused.
    pub periods: u64,
    /// How long it was paused in all.
    pub time: Duration,
}

impl Budget {
    /// `limit` in thousandths of a core.
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

    /// Takes what a guest has used.
    pub(super) fn charge(&mut self, spent: Duration, now: Instant) {
        self.fill_up(now);
        self.left = self.left.saturating_sub(nanos(spent));
    }

    /// When a guest may run: None is now. A pause is counted when it is first
    /// asked for.
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

/// Periods that the time from `begin` to the period's end `end` touches.
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

    /// A budget of 20 ms in each period, and its beginning.
    fn budget() -> (Budget, Instant) {
        let began = Instant::now();
        (Budget::new(200, began), began)
    }

    #[test]
    fn a_burst_may_take_the_whole_quota_at_once() {
        let (mut budget, began) = budget();
        budget.charge(ms(19), began + ms(10));
        assert_eq!(budget.resumes_at(began + ms(10)), None);
        assert_eq!(budget.throttling(), Throttling::default());
    }

    #[test]
    fn over_its_quota_it_waits_for_the_next_period() {
        let (mut budget, began) = budget();
        budget.charge(ms(20), began + ms(30));
        assert_eq!(budget.resumes_at(began + ms(30)), Some(began + ms(100)));
        assert_eq!(budget.resumes_at(began + ms(99)), Some(began + ms(100)));
        assert_eq!(budget.resumes_at(began + ms(100)), None);
        let (periods, time) = (1, ms(70));
        assert_eq!(budget.throttling(), Throttling { periods, time });
    }

    #[test]
    fn what_it_spent_too_much_is_taken_from_the_periods_after() {
        let (mut budget, began) = budget();
        budget.charge(ms(65), began + ms(40));
        // 45 ms of debt: two whole periods and a part of the third pay it.
        assert_eq!(budget.resumes_at(began + ms(40)), Some(began + ms(300)));
        assert_eq!(budget.resumes_at(began + ms(300)), None);
        budget.charge(ms(14), began + ms(310));
        assert_eq!(budget.resumes_at(began + ms(310)), None);
        budget.charge(ms(1), began + ms(311));
        assert_eq!(budget.resumes_at(began + ms(311)), Some(began + ms(400)));
    }

    #[test]
    fn what_it_did_not_spend_is_lost() {
        let (mut budget, began) = budget();
        budget.charge(ms(1), began);
        let later = began + ms(5_050);
        budget.charge(ms(20), later);
        assert_eq!(budget.resumes_at(later), Some(began + ms(5_100)));
    }

    #[test]
    fn a_pause_counts_once_however_many_wait_and_longer_when_others_spend_more() {
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
        // Another instance was still in its slice.
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
    fn a_greedy_guest_gets_its_limit_over_time() {
        for limit in [1, 50, 200, 1000, 2500] {
            let began = Instant::now();
            let mut budget = Budget::new(limit, began);
            let (mut now, mut used) = (began, Duration::ZERO);
            while now < began + ms(60_000) {
                match budget.resumes_at(now) {
                    Some(resumes) => now = resumes,
                    None => {
                        // Four instances, each to its next tick.
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
