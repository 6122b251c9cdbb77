//! Statements that are known to be short run on the calling thread, because passing one to
//! another thread costs more than the statement itself.
//!
//! A statement is identified by its text, and known to be short after it was short several
//! times in a row. If it takes longer this time, it is interrupted and starts again on another
//! thread, so only statements that read may run here. If one cannot be interrupted in time, no
//! statement of its pod runs here for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A statement that took no longer, on any thread, was short.
const SHORT: Duration = Duration::from_micros(300);

/// The number of times in a row after which a statement is known to be short.
const KNOWN_AFTER: u8 = 5;

/// A statement that is expected to be short is interrupted after this time.
const ENDED_AFTER: Duration = Duration::from_millis(1);

/// A statement that took longer could not be interrupted.
const BARRED_OVER: Duration = Duration::from_millis(4);

/// How long no statement of the pod runs on the calling thread after that.
const BARRED_FOR: Duration = Duration::from_secs(60);

/// Remembered statements of one pod. When the limit is reached, all are forgotten.
const STATEMENTS_MAX: usize = 512;

/// The durations of the statements of one pod.
#[derive(Default)]
pub(super) struct Statements {
    hasher: RandomState,
    known: Mutex<History>,
}

#[derive(Default)]
struct History {
    /// How often in a row each statement was short.
    short: HashMap<u64, u8>,
    barred_until: Option<Instant>,
}

/// The expected duration of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedDuration {
    Short,
    /// Long or unknown.
    Long,
}

impl Statements {
    pub(super) fn expected(&self, text: &str, now: Instant) -> ExpectedDuration {
        let known = self.known.lock();
        let barred = known.barred_until.is_some_and(|until| now < until);
        match known.short.get(&self.hasher.hash_one(text)) {
            Some(times) if *times >= KNOWN_AFTER && !barred => ExpectedDuration::Short,
            _ => ExpectedDuration::Long,
        }
    }

    /// Records how long a statement took, and which duration was expected.
    pub(super) fn took(
        &self,
        text: &str,
        expected: ExpectedDuration,
        took: Duration,
        now: Instant,
    ) {
        let mut known = self.known.lock();
        if expected == ExpectedDuration::Short && took > BARRED_OVER {
            known.barred_until = Some(now + BARRED_FOR);
        }
        let text = self.hasher.hash_one(text);
        if known.short.len() >= STATEMENTS_MAX && !known.short.contains_key(&text) {
            known.short.clear();
        }
        let times = known.short.entry(text).or_default();
        *times = match took <= SHORT {
            true => times.saturating_add(1),
            false => 0,
        };
    }
}

/// Interrupts a statement that is not as short as expected.
pub(super) fn watch(began: Instant) -> galleria_sqlite::Watch {
    Box::new(move || began.elapsed() > ENDED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(statements: &Statements, text: &str, took: &[u64]) -> ExpectedDuration {
        let now = Instant::now();
        for milliseconds in took {
            let took = Duration::from_millis(*milliseconds);
            let expected = statements.expected(text, now);
            statements.took(text, expected, took, now);
        }
        statements.expected(text, now)
    }

    #[test]
    fn statement_is_known_after_it_was_short_several_times_in_a_row() {
        let statements = Statements::default();
        assert_eq!(after(&statements, "a", &[]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "a", &[0; 4]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "a", &[0]), ExpectedDuration::Short);
        assert_eq!(after(&statements, "b", &[0; 4]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "b", &[2, 0]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "a", &[2]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "a", &[0; 5]), ExpectedDuration::Short);
    }

    #[test]
    fn pod_is_barred_for_a_while_after_a_statement_could_not_be_interrupted() {
        let statements = Statements::default();
        after(&statements, "a", &[0; 5]);
        after(&statements, "b", &[0; 5]);
        assert_eq!(after(&statements, "a", &[50]), ExpectedDuration::Long);
        assert_eq!(after(&statements, "b", &[0]), ExpectedDuration::Long);
        let later = Instant::now() + BARRED_FOR;
        assert_eq!(statements.expected("b", later), ExpectedDuration::Short);
    }

    #[test]
    fn texts_that_are_not_repeated_are_forgotten() {
        let statements = Statements::default();
        for number in 0..10_000 {
            after(&statements, &number.to_string(), &[0; 5]);
        }
        assert!(statements.known.lock().short.len() <= STATEMENTS_MAX);
    }
}
