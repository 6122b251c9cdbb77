//! Context switches of this process.

use std::fs;
use std::path::Path;

/// Threads that wake up by the clock, not for a request.
const PERIODIC: [&str; 2] = ["epoch", "log"];

/// How often a thread has waited for something so far. Switches that the kernel forces on a
/// busy thread are due to other processes, and do not count.
pub fn switched() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("the threads of this process");
    let counts = threads.filter_map(|thread| waits(&thread.ok()?.path()));
    counts.sum()
}

fn waits(thread: &Path) -> Option<u64> {
    let name = fs::read_to_string(thread.join("comm")).ok()?;
    if PERIODIC.contains(&name.trim()) {
        return None;
    }
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}
