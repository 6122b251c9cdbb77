//! The last lines that a pod's guests printed, for `kubectl logs`: of the present
//! run and of the one before it.
//!
//! Bounded by bytes; the oldest lines go first. Lines are numbered, so that a
//! reader who follows misses none that is still kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Bytes of text that are kept of one run.
const KEPT: usize = 256 << 10;

/// What a line costs besides its text.
const LINE_COST: usize = 64;

/// One pod's lines.
#[derive(Debug)]
pub(crate) struct PodLog {
    runs: Mutex<Runs>,
    /// The number of the newest line. Ends with the pod.
    newest: watch::Sender<u64>,
}

/// A line that a guest printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub number: u64,
    pub at: Timestamp,
    /// Without its line feed.
    pub text: Arc<str>,
}

#[derive(Debug, Default)]
struct Runs {
    /// The newest line's; 0 before the first.
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

/// Every pod's lines, by namespace and name, for as long as somebody keeps them.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<HashMap<(String, String), Weak<PodLog>>>);

impl Logs {
    /// For a new pod.
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
    /// The container starts, or starts again.
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

    /// The lines of the present run.
    pub(crate) fn present(&self) -> Vec<LogLine> {
        self.lock().present.lines.iter().cloned().collect()
    }

    /// Those of the run before it, if there was one.
    pub(crate) fn previous(&self) -> Option<Vec<LogLine>> {
        let runs = self.lock();
        let previous = runs.previous.as_ref()?;
        Some(previous.lines.iter().cloned().collect())
    }

    /// The lines after the one of `number`, of whatever run.
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
    fn the_run_before_is_kept_and_those_before_it_are_not() {
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
    fn the_oldest_lines_go_first() {
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
