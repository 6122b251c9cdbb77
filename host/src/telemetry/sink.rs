//! Standard output for lines that are written with every request: buffered, bounded, and
//! written by a separate thread, so that a slow reader delays no request.

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntCounter;

/// Bytes that may wait: some seconds of heavy logging. Further lines are dropped and
/// counted.
const BUFFER_MAX: usize = 16 << 20;

/// The part of the buffer that one pod may fill: a pod that prints endlessly leaves room
/// for the others.
const SHARE_MAX: usize = 1 << 20;

/// The part of the buffer that all guests together may fill: calls are logged regardless
/// of the guests' output.
const SHARES_MAX: usize = BUFFER_MAX / 2;

/// Lines are collected for this time and written together.
const GATHER: Duration = Duration::from_millis(10);

/// A handle to the writer; all handles share one buffer.
#[derive(Clone)]
pub(crate) struct Sink(Arc<SinkState>);

/// One pod's part of the buffer.
pub(crate) struct Share {
    sink: Sink,
    used: Mutex<ShareUsage>,
}

/// How much of the current batch belongs to a share.
#[derive(Debug, Default)]
struct ShareUsage {
    batch: u64,
    bytes: usize,
}

struct SinkState {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The part of `bytes` that belongs to shares.
    shared_bytes: usize,
    /// The number of the current batch.
    batch: u64,
    closed: bool,
    /// The writer has written everything and stopped.
    finished: bool,
}

impl Sink {
    /// Starts the writer. `dropped` counts the lines that did not fit, or that could not
    /// be written.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(SinkState {
            buffer: Mutex::default(),
            filled: Condvar::new(),
            dropped,
        });
        let writer = shared.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run(output))?;
        Ok(Self(shared))
    }

    /// A share for a pod.
    pub(crate) fn share(&self) -> Share {
        Share {
            sink: self.clone(),
            used: Mutex::default(),
        }
    }

    /// Adds a line, given without its line feed.
    pub(crate) fn line(&self, line: &[u8]) {
        self.push(self.0.lock(), line);
    }

    fn push(&self, mut buffer: MutexGuard<'_, Buffer>, line: &[u8]) {
        if buffer.closed || buffer.bytes.len() + line.len() >= BUFFER_MAX {
            self.0.dropped.inc();
            return;
        }
        let was_empty = buffer.bytes.is_empty();
        buffer.bytes.extend_from_slice(line);
        buffer.bytes.push(b'\n');
        drop(buffer);
        if was_empty {
            self.0.filled.notify_all();
        }
    }

    /// Waits until everything is written, for at most two seconds.
    pub(crate) fn close(&self) {
        let mut buffer = self.0.lock();
        buffer.closed = true;
        self.0.filled.notify_all();
        let unfinished = |buffer: &mut Buffer| !buffer.finished;
        let limit = Duration::from_secs(2);
        self.0.filled.wait_while_for(&mut buffer, unfinished, limit);
    }
}

impl Share {
    /// Like [`Sink::line`], within the share.
    pub(crate) fn line(&self, line: &[u8]) {
        let mut buffer = self.sink.0.lock();
        let mut used = self.used.lock();
        if used.batch != buffer.batch {
            *used = ShareUsage {
                batch: buffer.batch,
                bytes: 0,
            };
        }
        let is_over =
            used.bytes + line.len() > SHARE_MAX || buffer.shared_bytes + line.len() > SHARES_MAX;
        if is_over {
            self.sink.0.dropped.inc();
            return;
        }
        used.bytes += line.len();
        buffer.shared_bytes += line.len();
        self.sink.push(buffer, line);
    }
}

impl SinkState {
    fn run(&self, mut output: impl Write) {
        let mut cut = false;
        loop {
            let mut buffer = self.lock();
            let empty = |buffer: &mut Buffer| buffer.bytes.is_empty() && !buffer.closed;
            self.filled.wait_while(&mut buffer, empty);
            let closed = buffer.closed;
            drop(buffer);
            if !closed {
                thread::sleep(GATHER);
            }
            let bytes = self.lock().take();
            // The host keeps serving if the reader is gone or the disk is full.
            let written = if cut {
                // The last write may have ended in the middle of a line.
                output
                    .write_all(b"\n")
                    .and_then(|()| write(&mut output, &bytes))
            } else {
                write(&mut output, &bytes)
            };
            cut = written.is_err();
            if cut {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.inc_by(lines as u64);
            }
            let mut buffer = self.lock();
            if buffer.closed && buffer.bytes.is_empty() {
                buffer.finished = true;
                drop(buffer);
                self.filled.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock()
    }
}

impl Buffer {
    /// Takes the collected lines and starts a new batch.
    fn take(&mut self) -> Vec<u8> {
        self.batch += 1;
        self.shared_bytes = 0;
        mem::take(&mut self.bytes)
    }
}

fn write(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts `room` bytes, then fails until there is `room` again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, content) = &mut *self.0.lock();
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= taken;
            content.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Accepts nothing until it is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, opened) = &*self.0;
            let mut state = state.lock();
            opened.wait_while(&mut state, |(open, _)| !*open);
            state.1 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pod_that_prints_endlessly_loses_only_its_own_lines() {
        let dropped = IntCounter::new("dropped", "lines").expect("a counter");
        let gate = Gate::default();
        let sink = Sink::start(gate.clone(), dropped.clone()).expect("a thread");
        let (noisy, quiet) = (sink.share(), sink.share());
        let line = vec![b'x'; 1 << 10];
        // At most two batches are in memory: the one that is being written, and the next.
        for _ in 0..4 * SHARE_MAX / line.len() {
            noisy.line(&line);
        }
        let lost = dropped.get();
        assert!(lost >= (2 * SHARE_MAX / line.len()) as u64, "{lost}");
        quiet.line(&line);
        sink.line(&line);
        assert_eq!(dropped.get(), lost);
        gate.0.0.lock().0 = true;
        gate.0.1.notify_all();
        sink.close();
    }

    #[test]
    fn lines_lost_on_a_full_disk_are_counted_and_later_lines_are_complete() {
        let dropped = IntCounter::new("dropped", "lines").expect("a counter");
        let disk = Disk::default();
        disk.0.lock().0 = 4;
        let sink = Sink::start(disk.clone(), dropped.clone()).expect("a thread");
        sink.line(b"one");
        sink.line(b"two");
        while dropped.get() == 0 {
            thread::yield_now();
        }
        disk.0.lock().0 = 100;
        sink.line(b"three");
        sink.close();
        let (_, content) = &*disk.0.lock();
        let text = String::from_utf8_lossy(content);
        assert!(text.ends_with("\nthree\n"), "{text:?}");
        let lost = dropped.get();
        assert!(
            lost == 1 || lost == 2,
            "{lost}: together with the first, or alone"
        );
    }
}
