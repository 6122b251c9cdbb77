//! Statements that are known to be short run on the calling thread, because passing one to
//! another thread costs more than the statement itself.
//!
//! A statement is identified by its text, and known to be short after it was short several
//! times in a row. If it takes longer this time, it is interrupted and starts again on another
//! thread, so only statements that read may run here. If one cannot be interrupted in time, no
//! statement of its pod runs here for a while.
//!
//! Durations include the time for which the kernel gave the core to another thread. Therefore
//! a statement that was short for long may be slow a few times, and a pod is only barred for a
//! statement that occupied the core, or waited for the disk.

mod run_delay;

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A statement that took no longer, on any thread, was short.
const SHORT: Duration = Duration::from_micros(300);

/// The number of times in a row after which a statement is known to be short.
const KNOWN_AFTER: u8 = 5;

/// A statement that was not short has to be short as often again. This many times are
/// remembered, so that a statement that is short as a rule may be slow three times.
const TIMES_MAX: u8 = 4 * KNOWN_AFTER;

/// A statement that is expected to be short is interrupted after this time.
pub(super) const ENDED_AFTER: Duration = Duration::from_millis(1);

/// A statement that took longer could not be interrupted, unless the thread waited for a core.
const BARRED_OVER: Duration = Duration::from_millis(4);

/// How long no statement of the pod runs on the calling thread after that. Twice as long each
/// time, up to the maximum, unless the previous time is as long ago as the maximum: a virtual
/// machine that did not run looks like a statement that could not be interrupted.
const BARRED_FOR: Duration = Duration::from_secs(1);
const BARRED_MAX: Duration = Duration::from_secs(60);

/// How long the delays of the thread are measured after a statement took so long for an
/// unknown reason. Measuring costs two system calls.
const SUSPECTED_FOR: Duration = Duration::from_secs(60);

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
    /// How often each statement was short.
    short: HashMap<u64, u8, BuildHasherDefault<KeptHash>>,
    barred_until: Option<Instant>,
    /// How long the pod was barred the last time.
    barred_for: Duration,
    suspected_until: Option<Instant>,
}

/// What is known about a statement before it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecalledDuration {
    /// The hash of its text.
    text: u64,
    times: u8,
    is_barred: bool,
    is_suspected: bool,
}

/// A statement that runs on the calling thread.
pub(super) struct RunsHere {
    statement: RecalledDuration,
    began: Instant,
    /// The thread's delay before. `None` if it is not measured.
    delay: Option<Duration>,
}

impl RecalledDuration {
    /// Whether it is expected to be short. Otherwise it is long or unknown.
    pub(super) fn is_short(self) -> bool {
        self.times >= KNOWN_AFTER && !self.is_barred
    }

    pub(super) fn runs_here(self, began: Instant) -> RunsHere {
        RunsHere {
            statement: self,
            began,
            delay: self.is_suspected.then(run_delay::of_this_thread),
        }
    }
}

impl Statements {
    pub(super) fn recall(&self, text: &str, now: Instant) -> RecalledDuration {
        let text = self.hasher.hash_one(text);
        let known = self.known.lock();
        RecalledDuration {
            text,
            times: known.short.get(&text).copied().unwrap_or(0),
            is_barred: known.barred_until.is_some_and(|until| now < until),
            is_suspected: known.suspected_until.is_some_and(|until| now < until),
        }
    }

    /// Records how long a statement took on another thread.
    pub(super) fn took(&self, statement: RecalledDuration, began: Instant) {
        self.record(statement, began.elapsed());
    }

    /// Records how long a statement took on the calling thread.
    pub(super) fn took_here(&self, running: &RunsHere) {
        let now = Instant::now();
        let took = now.saturating_duration_since(running.began);
        if took > BARRED_OVER {
            let delay = running.delay;
            let delay = delay.map(|before| run_delay::of_this_thread().saturating_sub(before));
            self.was_not_interrupted(took, delay, now);
        }
        self.record(running.statement, took);
    }

    /// `delay` is the time for which the thread waited for a core meanwhile, if it is known.
    fn was_not_interrupted(&self, took: Duration, delay: Option<Duration>, now: Instant) {
        let mut known = self.known.lock();
        let mut suspected_from = now;
        if delay.is_some_and(|delay| took.saturating_sub(delay) > BARRED_OVER) {
            let before = known.barred_until;
            known.barred_for = match before.is_some_and(|until| now < until + BARRED_MAX) {
                true => (2 * known.barred_for).min(BARRED_MAX),
                false => BARRED_FOR,
            };
            suspected_from += known.barred_for;
            known.barred_until = Some(suspected_from);
        }
        known.suspected_until = Some(suspected_from + SUSPECTED_FOR);
    }

    fn record(&self, statement: RecalledDuration, took: Duration) {
        let is_short = took <= SHORT;
        if is_short && statement.times == TIMES_MAX {
            return;
        }
        let mut known = self.known.lock();
        let text = statement.text;
        if known.short.len() >= STATEMENTS_MAX && !known.short.contains_key(&text) {
            known.short.clear();
        }
        let times = known.short.entry(text).or_default();
        *times = match is_short {
            true => (*times + 1).min(TIMES_MAX),
            false => times.saturating_sub(KNOWN_AFTER),
        };
    }
}

/// Takes a hash as its own hash.
#[derive(Default)]
struct KeptHash(u64);

impl Hasher for KeptHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the statement is known to be short after it took these milliseconds.
    fn after(statements: &Statements, text: &str, took: &[u64]) -> bool {
        let now = Instant::now();
        for milliseconds in took {
            let took = Duration::from_millis(*milliseconds);
            let recalled = statements.recall(text, now);
            statements.record(recalled, took);
        }
        statements.recall(text, now).is_short()
    }

    #[test]
    fn statement_is_known_after_it_was_short_several_times_in_a_row() {
        let statements = Statements::default();
        assert!(!after(&statements, "a", &[]));
        assert!(!after(&statements, "a", &[0; 4]));
        assert!(after(&statements, "a", &[0]));
        assert!(!after(&statements, "b", &[0; 4]));
        assert!(!after(&statements, "b", &[2, 0]));
        assert!(!after(&statements, "a", &[2]));
        assert!(after(&statements, "a", &[0; 5]));
    }

    #[test]
    fn statement_that_was_short_for_long_may_be_slow_a_few_times() {
        let statements = Statements::default();
        assert!(after(&statements, "a", &[0; 1_000]));
        assert!(after(&statements, "a", &[2; 3]));
        assert!(!after(&statements, "a", &[2]));
        assert!(after(&statements, "a", &[0; 1_000]));
        for _ in 0..100 {
            assert!(after(&statements, "a", &[2, 0, 0, 0, 0, 0]));
        }
        for _ in 0..10 {
            after(&statements, "a", &[2, 0]);
        }
        assert!(!after(&statements, "a", &[]));
    }

    #[test]
    fn pod_is_barred_for_a_while_after_statements_could_not_be_interrupted() {
        let statements = Statements::default();
        after(&statements, "a", &[0; 5]);
        let now = Instant::now();
        let long = Duration::from_millis(50);
        // The first time, nothing is known about the reason.
        statements.was_not_interrupted(long, None, now);
        let recalled = statements.recall("a", now);
        assert!(recalled.is_short() && recalled.is_suspected);
        assert!(recalled.runs_here(now).delay.is_some());
        statements.was_not_interrupted(long, Some(Duration::from_millis(48)), now);
        assert!(statements.recall("a", now).is_short());
        statements.was_not_interrupted(long, Some(Duration::from_millis(10)), now);
        assert!(!statements.recall("a", now).is_short());
        let later = statements.recall("a", now + BARRED_FOR);
        assert!(later.is_short() && later.is_suspected);
        let later = statements.recall("a", now + BARRED_FOR + SUSPECTED_FOR);
        assert!(later.is_short() && !later.is_suspected);
        assert!(later.runs_here(now).delay.is_none());
    }

    #[test]
    fn pod_is_barred_for_longer_each_time() {
        let statements = Statements::default();
        after(&statements, "a", &[0; 5]);
        let mut now = Instant::now();
        let mut bar = |pause: Duration| {
            now += pause;
            let no_delay = Some(Duration::ZERO);
            statements.was_not_interrupted(Duration::from_millis(50), no_delay, now);
            let mut seconds = 0;
            while !statements.recall("a", now).is_short() {
                now += Duration::from_secs(1);
                seconds += 1;
            }
            seconds
        };
        let soon = Duration::from_secs(30);
        let barred: Vec<_> = (0..8).map(|_| bar(soon)).collect();
        assert_eq!(barred, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(bar(BARRED_MAX), 1);
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
