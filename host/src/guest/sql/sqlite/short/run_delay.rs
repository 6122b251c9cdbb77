//! How long the kernel let the current thread wait for a core.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

thread_local! {
    /// Nanoseconds on a core, nanoseconds of waiting for a core, time slices.
    static STATISTICS: Option<File> = File::open("/proc/thread-self/schedstat").ok();
}

/// Since the thread began. It only ever grows; zero if the kernel does not count it. Costs one
/// system call.
pub(super) fn of_this_thread() -> Duration {
    let read = |file: &Option<File>| {
        let mut text = [0; 64];
        let length = file.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        text.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Duration::from_nanos(STATISTICS.with(read).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_core_is_counted() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4 * cores)
                .map(|_| {
                    scope.spawn(|| {
                        let (before, began) = (of_this_thread(), std::time::Instant::now());
                        while began.elapsed() < Duration::from_millis(200) {
                            std::hint::spin_loop();
                        }
                        (of_this_thread() - before, began.elapsed())
                    })
                })
                .collect();
            let mut waited = Duration::ZERO;
            for thread in threads {
                let (delay, took) = thread.join().expect("no panic");
                assert!(delay <= took, "{delay:?} of {took:?}");
                waited += delay;
            }
            assert!(waited > Duration::from_millis(100), "{waited:?}");
        });
    }
}
