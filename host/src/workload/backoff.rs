//! The pause before a failed pod is restarted, and before an image that could not be
//! pulled is pulled again.

use std::time::Duration;

/// The longest pause, as in the kubelet.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// After a run of this length, the pauses start over with the first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// Pauses that double with every failure: 10 s, 20 s, … 5 min.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration) -> Self {
        Self {
            initial,
            next: initial,
        }
    }

    /// The pause after a run of length `ran`.
    pub(crate) fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY_AFTER {
            self.next = self.initial;
        }
        let pause = self.next;
        self.next = (self.next * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_start_over_after_a_long_run() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let short = Duration::from_secs(1);
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause(short).as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.pause(HEALTHY_AFTER).as_secs(), 10);
    }
}
