//! What servers consume while they are under load, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::server::{Server, resident_bytes};

/// How often the threads of the servers are read. The context switches of a thread that
/// ends are counted up to its last reading.
const EVERY: Duration = Duration::from_millis(100);
/// The unit of CPU times in `/proc`, which is the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The consumption of all servers together during a load.
#[derive(Debug)]
pub(super) struct Usage {
    /// In user and kernel mode, including threads that ended.
    pub(super) cpu: Duration,
    /// Voluntary and involuntary.
    pub(super) context_switches: u64,
    /// The most threads at one time.
    pub(super) threads: usize,
    /// Resident memory at the end.
    pub(super) resident_bytes: u64,
}

/// Runs `load` and measures what the servers consume meanwhile.
pub(super) fn during<T>(
    servers: &[Server],
    load: impl FnOnce() -> Result<T>,
) -> Result<(T, Usage)> {
    let mut threads = Threads::default();
    threads.read(servers)?;
    threads.context_switches = 0;
    let before = cpu(servers)?;
    let done = AtomicBool::new(false);
    let loaded = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(EVERY);
                threads.read(servers)?;
            }
            Ok::<_, anyhow::Error>(())
        });
        let loaded = load();
        done.store(true, Ordering::Relaxed);
        let read = reader.join();
        read.map_err(|_| anyhow!("reading /proc failed"))??;
        loaded
    })?;
    let usage = Usage {
        cpu: cpu(servers)?.saturating_sub(before),
        context_switches: threads.context_switches,
        threads: threads.most,
        resident_bytes: resident_bytes(servers)?,
    };
    Ok((loaded, usage))
}

/// CPU time of the children of this process that have ended, such as load generators.
pub(super) fn cpu_of_ended_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    ticks(&stat, 13).context("/proc/self/stat has an unknown format")
}

fn cpu(servers: &[Server]) -> Result<Duration> {
    let of = |server: &Server| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.id()))?;
        ticks(&stat, 11).context("/proc/PID/stat has an unknown format")
    };
    servers.iter().map(of).sum()
}

/// The sum of two neighbouring fields, the first of which is the `first` one after the
/// name. A name can contain spaces and parentheses.
fn ticks(stat: &str, first: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(first);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(TICK * (next()? + next()?))
}

/// The threads seen so far, with their context switches when they were last seen.
#[derive(Debug, Default)]
struct Threads {
    seen: HashMap<u32, u64>,
    context_switches: u64,
    most: usize,
}

impl Threads {
    fn read(&mut self, servers: &[Server]) -> Result<()> {
        let mut now = 0;
        for server in servers {
            for entry in fs::read_dir(format!("/proc/{}/task", server.id()))? {
                // A thread can end while it is read.
                let Ok(entry) = entry else { continue };
                let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
                    continue;
                };
                let name = entry.file_name();
                if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                    self.count(id, switches(&status));
                    now += 1;
                }
            }
        }
        self.most = self.most.max(now);
        Ok(())
    }

    /// A new thread can have the id of one that ended, and then starts from 0.
    fn count(&mut self, id: u32, switches: u64) {
        let before = self.seen.insert(id, switches).unwrap_or(0);
        self.context_switches += switches.checked_sub(before).unwrap_or(switches);
    }
}

fn switches(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.ends_with("voluntary_ctxt_switches")
            .then(|| value.trim().parse::<u64>().ok())?
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_threads_keep_their_context_switches() {
        let mut threads = Threads::default();
        threads.count(1, 1_000);
        threads.context_switches = 0;
        threads.count(1, 1_010);
        threads.count(2, 5);
        // Thread 2 has ended, and another one has its id.
        threads.count(2, 3);
        assert_eq!(threads.context_switches, 10 + 5 + 3);
    }

    #[test]
    fn both_kinds_of_switches_are_added() {
        let status = "Name:\thost\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(switches(status), 12);
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 1 2 20";
        assert_eq!(ticks(stat, 11), Some(Duration::from_millis(420)));
        assert_eq!(ticks(stat, 13), Some(Duration::from_millis(30)));
    }
}
