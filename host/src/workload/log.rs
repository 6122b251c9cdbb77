//! The last log lines of a pod's guests, for `kubectl logs`: those of the current run and
//! of the previous one.
//!
//! The size is limited; the oldest lines are dropped first. Lines are numbered, so that a
//! reader that follows the log receives every line that has not been dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Bytes kept per run.
const KEPT: usize = 256 << 10;

/// The memory that a line uses in addition to its text.
const LINE_COST: usize = 64;

/// The log lines of one pod.
#[derive(Debug)]
pub(crate) struct PodLog {
    runs: Mutex<Runs>,
    /// The number of the newest line. Closed when the pod is gone.
    newest: watch::Sender<u64>,
}

/// One log line of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub number: u64,
    pub at: Timestamp,
    /// Without the line feed.
    pub text: Arc<str>,
}

#[derive(Debug, Default)]
struct Runs {
    /// The number of the newest line; 0 before the first.
    number: u64,
    present: Run,
    previous: Option<Run>,
}

#[derive(Debug, Default)]
struct Run {
    lines: VecDeque<LogLine>,
    bytes: usize,
    has_begun: bool,
}

/// The logs of all pods, by namespace and name, as long as they are referenced.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<(String, String), Weak<PodLog>>>);

impl Logs {
    /// Creates the log of a new pod.
    pub(crate) fn begin(&self, namespace: &str, pod: &str) -> Arc<PodLog> {
        let log = Arc::new(PodLog {
            runs: Mutex::default(),
            newest: watch::Sender::new(0),
        });
        let mut all = self.0.lock();
        if all.len() == all.capacity() {
            all.retain(|_, log| log.strong_count() > 0);
        }
        let key = (namespace.to_owned(), pod.to_owned());
        all.insert(key, Arc::downgrade(&log));
        log
    }

    pub(crate) fn of(&self, namespace: &str, pod: &str) -> Option<Arc<PodLog>> {
        let all = self.0.lock();
        all.get(&(namespace.to_owned(), pod.to_owned()))?.upgrade()
    }
}

impl PodLog {
    /// Call this when the container starts or restarts.
    pub(super) fn begin_run(&self) {
        let mut runs = self.lock();
        let ended = std::mem::take(&mut runs.present);
        runs.present.has_begun = true;
        if ended.has_begun {
            runs.previous = Some(ended);
        }
    }

    pub(super) fn push(&self, text: &str) {
        let mut runs = self.lock();
        runs.number += 1;
        let number = runs.number;
        runs.present.push(LogLine {
            number,
            at: Timestamp::now(),
            text: text.into(),
        });
        drop(runs);
        if self.newest.receiver_count() > 0 {
            self.newest.send_replace(number);
        }
    }

    /// The lines of the current run.
    pub(crate) fn present(&self) -> Vec<LogLine> {
        self.lock().present.lines.iter().cloned().collect()
    }

    /// The lines of the previous run, if there was one.
    pub(crate) fn previous(&self) -> Option<Vec<LogLine>> {
        let runs = self.lock();
        let previous = runs.previous.as_ref()?;
        Some(previous.lines.iter().cloned().collect())
    }

    /// The lines of both runs after the line with `number`.
    pub(crate) fn after(&self, number: u64) -> Vec<LogLine> {
        let runs = self.lock();
        let previous = runs.previous.iter().flat_map(|run| &run.lines);
        let lines = previous.chain(&runs.present.lines);
        lines.filter(|line| line.number > number).cloned().collect()
    }

    /// Changes with every line; closed once the pod is gone.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock()
    }
}

impl Run {
    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len() + LINE_COST;
        self.lines.push_back(line);
        while self.bytes > KEPT
            && let Some(gone) = self.lines.pop_front()
        {
            self.bytes -= gone.text.len() + LINE_COST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn lines_of_the_current_and_the_previous_run_are_kept() {
        let logs = Logs::default();
        let log = logs.begin("shop", "a");
        assert_eq!(log.previous(), None);
        for run in ["one", "two", "three"] {
            log.begin_run();
            log.push(run);
        }
        assert_eq!(texts(&log.present()), ["three"]);
        assert_eq!(texts(&log.previous().expect("a run")), ["two"]);
        assert_eq!(texts(&log.after(2)), ["three"]);
        assert!(logs.of("shop", "a").is_some() && logs.of("shop", "b").is_none());
        drop(log);
        assert!(logs.of("shop", "a").is_none());
    }

    #[test]
    fn oldest_lines_are_dropped_first() {
        let log = Logs::default().begin("shop", "a");
        log.begin_run();
        let long = "x".repeat(KEPT / 4);
        for _ in 0..8 {
            log.push(&long);
        }
        log.push("last");
        let lines = log.present();
        assert_eq!(lines.last().map(|line| &*line.text), Some("last"));
        assert!(lines.len() == 4 && lines[0].number == 6, "{}", lines.len());
    }
}
