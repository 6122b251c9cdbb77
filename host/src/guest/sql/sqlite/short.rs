//! Statements that are known to be short run where they are asked for: handing one
//! to another thread costs more than the statement itself.
//!
//! A statement is known by its text, once it was short several times in a row. One
//! that takes longer after all is ended and begins anew on a thread of its own, so
//! only what reads may run here. The pod of one that could not be ended in time has
//! none run here for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A statement that took no longer, on whichever thread, was short.
const SHORT: Duration = Duration::from_micros(300);

/// So many times in a row make it known.
const KNOWN_AFTER: u8 = 5;

/// One that is expected to be short is ended after this.
const ENDED_AFTER: Duration = Duration::from_millis(1);

/// One that took longer could not be ended.
const BARRED_OVER: Duration = Duration::from_millis(4);

/// For how long its pod has none run here.
const BARRED_FOR: Duration = Duration::from_secs(60);

/// Statements that are remembered of one pod: beyond it all are forgotten.
const STATEMENTS_MAX: usize = 512;

/// What is known of the statements of one pod.
#[derive(Default)]
pub(super) struct Statements {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How often in a row each was short.
    short: HashMap<u64, u8>,
    barred_until: Option<Instant>,
}

/// Whether a statement is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Short,
    /// Or nobody knows.
    Long,
}

impl Statements {
    pub(super) fn expected(&self, text: &str, now: Instant) -> Expected {
        let known = self.known.lock();
        let barred = known.barred_until.is_some_and(|until| now < until);
        match known.short.get(&self.hasher.hash_one(text)) {
            Some(times) if *times >= KNOWN_AFTER && !barred => Expected::Short,
            _ => Expected::Long,
        }
    }

    /// Notes how long a statement took, and what was expected of it.
    pub(super) fn took(&self, text: &str, expected: Expected, took: Duration, now: Instant) {
        let mut known = self.known.lock();
        if expected == Expected::Short && took > BARRED_OVER {
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

/// Ends a statement that is not as short as expected.
pub(super) fn watch(began: Instant) -> galleria_sqlite::Watch {
    Box::new(move || began.elapsed() > ENDED_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(statements: &Statements, text: &str, took: &[u64]) -> Expected {
        let now = Instant::now();
        for milliseconds in took {
            let took = Duration::from_millis(*milliseconds);
            let expected = statements.expected(text, now);
            statements.took(text, expected, took, now);
        }
        statements.expected(text, now)
    }

    #[test]
    fn statement_is_short_once_it_was_so_several_times_in_a_row() {
        let statements = Statements::default();
        assert_eq!(after(&statements, "a", &[]), Expected::Long);
        assert_eq!(after(&statements, "a", &[0; 4]), Expected::Long);
        assert_eq!(after(&statements, "a", &[0]), Expected::Short);
        assert_eq!(after(&statements, "b", &[0; 4]), Expected::Long);
        assert_eq!(after(&statements, "b", &[2, 0]), Expected::Long);
        assert_eq!(after(&statements, "a", &[2]), Expected::Long);
        assert_eq!(after(&statements, "a", &[0; 5]), Expected::Short);
    }

    #[test]
    fn pod_whose_statement_could_not_be_ended_is_barred_for_a_while() {
        let statements = Statements::default();
        after(&statements, "a", &[0; 5]);
        after(&statements, "b", &[0; 5]);
        assert_eq!(after(&statements, "a", &[50]), Expected::Long);
        assert_eq!(after(&statements, "b", &[0]), Expected::Long);
        let later = Instant::now() + BARRED_FOR;
        assert_eq!(statements.expected("b", later), Expected::Short);
    }

    #[test]
    fn texts_that_never_come_again_are_forgotten() {
        let statements = Statements::default();
        for number in 0..10_000 {
            after(&statements, &number.to_string(), &[0; 5]);
        }
        assert!(statements.known.lock().short.len() <= STATEMENTS_MAX);
    }
}
