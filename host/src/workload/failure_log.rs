//! A rate limit for log lines about the failures of one pod's guests.
//!
//! A guest that traps a thousand times a second must neither fill the disk with its log
//! lines nor slow down other guests. Every failure is counted in the metrics and in the
//! pod's events. The log contains the first failures of each time window, and how many
//! were omitted.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that are logged per [`WINDOW`].
const LOGGED_MAX: u32 = 10;

/// Starts with the first failure.
const WINDOW: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct FailureLog(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl FailureLog {
    /// Some if a failure is to be logged now, with the number of omitted ones before it.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        let is_over = window
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW);
        if is_over {
            window.since = Some(now);
            window.logged = 0;
        }
        if window.logged >= LOGGED_MAX {
            window.left_out += 1;
            return None;
        }
        window.logged += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_failures_of_a_window_are_logged_and_the_others_counted() {
        let (log, now) = (FailureLog::default(), Instant::now());
        let logged = (0..1_000).filter_map(|_| log.admit(now)).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert_eq!(log.admit(now + WINDOW), Some(1_000 - u64::from(LOGGED_MAX)));
        assert_eq!(log.admit(now + WINDOW), Some(0));
    }
}
