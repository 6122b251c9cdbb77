//! A bucket of tokens, filled after every interval.

use std::time::{Duration, Instant};

use galleria_manifest::model::BucketLimits;
use parking_lot::Mutex;

/// See the module's documentation.
#[derive(Debug)]
pub struct TokenBucket {
    limits: BucketLimits,
    fill: Mutex<Fill>,
}

#[derive(Debug)]
struct Fill {
    tokens: u32,
    /// When an interval began; the first one begins with the first request.
    began: Option<Instant>,
}

/// The bucket after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Whether the request got a token.
    pub is_allowed: bool,
    /// The most tokens that the bucket can have.
    pub limit: u32,
    pub remaining: u32,
    /// The time until the bucket is filled.
    pub reset: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(limits: BucketLimits) -> Self {
        Self {
            limits,
            fill: Mutex::new(Fill {
                tokens: limits.max_tokens,
                began: None,
            }),
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Instant) -> Balance {
        let mut fill = self.fill.lock();
        let began = fill.advance(&self.limits, now);
        let is_allowed = fill.tokens > 0;
        fill.tokens = fill.tokens.saturating_sub(1);
        let elapsed = now.saturating_duration_since(began);
        Balance {
            is_allowed,
            limit: self.limits.max_tokens,
            remaining: fill.tokens,
            reset: self.limits.fill_interval.saturating_sub(elapsed),
        }
    }
}

impl Fill {
    /// Adds the tokens of the intervals that have ended. Returns when the current one began.
    fn advance(&mut self, limits: &BucketLimits, now: Instant) -> Instant {
        let began = *self.began.get_or_insert(now);
        let interval = limits.fill_interval.as_nanos().max(1);
        let elapsed = now.saturating_duration_since(began).as_nanos();
        let fills = elapsed / interval;
        if fills == 0 {
            return began;
        }
        let added = fills.saturating_mul(limits.tokens_per_fill.into());
        let tokens = added.saturating_add(self.tokens.into());
        let tokens = tokens.min(limits.max_tokens.into());
        self.tokens = u32::try_from(tokens).unwrap_or(limits.max_tokens);
        let rest = u64::try_from(elapsed % interval).unwrap_or(0);
        let began = now.checked_sub(Duration::from_nanos(rest)).unwrap_or(now);
        self.began = Some(began);
        began
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(max_tokens: u32, tokens_per_fill: u32, millis: u64) -> BucketLimits {
        BucketLimits {
            max_tokens,
            tokens_per_fill,
            fill_interval: Duration::from_millis(millis),
        }
    }

    /// Which of the requests, at these milliseconds, are allowed.
    fn allowed(limits: BucketLimits, requests: &[u64]) -> Vec<bool> {
        let start = Instant::now();
        let bucket = TokenBucket::new(limits);
        let requests = requests.iter();
        let balances = requests.map(|at| bucket.take(start + Duration::from_millis(*at)));
        balances.map(|balance| balance.is_allowed).collect()
    }

    #[test]
    fn tokens_come_with_every_interval() {
        let rows: [(BucketLimits, &[u64], &str); 8] = [
            (limits(1, 1, 1000), &[0, 0, 999, 1000, 1000], "+--+-"),
            (limits(3, 3, 1000), &[0, 1, 2, 3, 1000, 1001], "+++-++"),
            // One token each time.
            (
                limits(3, 1, 1000),
                &[0, 0, 0, 0, 1000, 1000, 2000],
                "+++-+-+",
            ),
            // Never more than the bucket holds.
            (limits(2, 2, 100), &[0, 0, 5000, 5000, 5000], "++++-"),
            (limits(2, 9, 100), &[0, 0, 0, 100, 100, 100], "++-++-"),
            // Intervals begin with the first request, not with the last.
            (limits(1, 1, 1000), &[900, 1000, 1900, 2800, 2900], "+-+-+"),
            // Several intervals at once.
            (
                limits(5, 1, 100),
                &[0, 0, 0, 0, 0, 0, 250, 250, 250],
                "+++++-++-",
            ),
            // A clock that stands still.
            (limits(1, 1, 50), &[10, 10, 5], "+--"),
        ];
        for (limits, requests, expected) in rows {
            let found = allowed(limits, requests);
            let found = found.iter().map(|it| if *it { '+' } else { '-' });
            assert_eq!(
                String::from_iter(found),
                expected,
                "{limits:?} {requests:?}"
            );
        }
    }

    #[test]
    fn balance_tells_what_is_left_and_until_when() {
        let start = Instant::now();
        let bucket = TokenBucket::new(limits(2, 1, 1000));
        let balance = bucket.take(start);
        assert_eq!((balance.limit, balance.remaining), (2, 1));
        assert_eq!(balance.reset, Duration::from_millis(1000));
        bucket.take(start);
        let balance = bucket.take(start + Duration::from_millis(999));
        assert!(!balance.is_allowed);
        assert_eq!((balance.remaining, balance.reset.as_millis()), (0, 1));
    }

    proptest! {
        /// The bucket agrees with one that is filled by a timer.
        #[test]
        fn bucket_is_that_of_a_timer(
            max_tokens in 1u32..20,
            tokens_per_fill in 1u32..20,
            millis in 1u64..500,
            steps in proptest::collection::vec(0u64..1000, 1..100),
        ) {
            let mut at = 0;
            let requests: Vec<u64> = steps.iter().map(|step| { at += step; at }).collect();
            let found = allowed(limits(max_tokens, tokens_per_fill, millis), &requests);
            let first = requests[0];
            let (mut tokens, mut clock) = (max_tokens, first);
            for (request, found) in requests.iter().zip(found) {
                while clock < *request {
                    clock += 1;
                    if (clock - first).is_multiple_of(millis) {
                        tokens = (tokens + tokens_per_fill).min(max_tokens);
                    }
                }
                prop_assert_eq!(found, tokens > 0);
                tokens = tokens.saturating_sub(1);
            }
        }
    }
}
