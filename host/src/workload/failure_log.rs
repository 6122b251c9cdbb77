//! How often the failures of one pod's guests are logged.
//!
//! A guest that traps a thousand times a second would fill the disk that the log is
//! kept on, and cost its neighbours the time that writing takes. Every failure is
//! counted in the metrics and in the pod's events; the log has the first of them and
//! says how many it left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that are logged in one [`WINDOW`]: enough to see what happens.
const LOGGED_MAX: u32 = 10;

/// From the first failure on.
const WINDOW: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    logged: u32,
    left_out: u64,
}

impl FailureLog {
    /// Whether a failure is logged now, and how many before it were not.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
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
    fn storm_is_logged_at_its_beginning_and_counted_in_the_next_window() {
        let (log, now) = (FailureLog::default(), Instant::now());
        let logged = (0..1_000).filter_map(|_| log.admit(now)).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert_eq!(log.admit(now + WINDOW), Some(1_000 - u64::from(LOGGED_MAX)));
        assert_eq!(log.admit(now + WINDOW), Some(0));
    }
}
