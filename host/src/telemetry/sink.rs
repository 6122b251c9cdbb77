//! Standard output for lines that come with every request: buffered, bounded,
//! written by a thread of its own, so that a slow reader delays no request.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

/// Bytes that may wait: some seconds of heavy logging. What comes on top is
/// dropped and counted.
const BUFFER_MAX: usize = 16 << 20;

/// Lines are gathered this long before they are written together.
const GATHER: Duration = Duration::from_millis(10);

/// A handle to the writer; the lines of all handles go the same way.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    closed: bool,
    /// The writer has written everything and ended.
    finished: bool,
}

impl Sink {
    /// Starts the writer. `dropped` counts the lines that did not fit, or that the
    /// output did not take.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
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

    /// Takes one line, without its line feed.
    pub(crate) fn line(&self, line: &[u8]) {
        let mut buffer = self.0.lock();
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

    /// Waits until everything is written, at most two seconds.
    pub(crate) fn close(&self) {
        let mut buffer = self.0.lock();
        buffer.closed = true;
        self.0.filled.notify_all();
        let waiting = self
            .0
            .filled
            .wait_timeout_while(buffer, Duration::from_secs(2), |buffer| !buffer.finished);
        drop(waiting);
    }
}

impl Shared {
    fn run(&self, mut output: impl Write) {
        let mut cut = false;
        loop {
            let buffer = self.lock();
            let buffer = self
                .filled
                .wait_while(buffer, |buffer| buffer.bytes.is_empty() && !buffer.closed)
                .unwrap_or_else(PoisonError::into_inner);
            let closed = buffer.closed;
            drop(buffer);
            if !closed {
                thread::sleep(GATHER);
            }
            let bytes = mem::take(&mut self.lock().bytes);
            // A reader that went away, or a full disk, is no reason to stop serving.
            let written = if cut {
                // What came before may have ended within a line.
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
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then nothing until there is `room` again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, content) = &mut *self.0.lock().expect("unpoisoned");
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

    #[test]
    fn what_a_full_disk_did_not_take_is_counted_and_later_lines_are_whole() {
        let dropped = IntCounter::new("dropped", "lines").expect("a counter");
        let disk = Disk::default();
        disk.0.lock().expect("unpoisoned").0 = 4;
        let sink = Sink::start(disk.clone(), dropped.clone()).expect("a thread");
        sink.line(b"one");
        sink.line(b"two");
        while dropped.get() == 0 {
            thread::yield_now();
        }
        disk.0.lock().expect("unpoisoned").0 = 100;
        sink.line(b"three");
        sink.close();
        let (_, content) = &*disk.0.lock().expect("unpoisoned");
        let text = String::from_utf8_lossy(content);
        assert!(text.ends_with("\nthree\n"), "{text:?}");
        let lost = dropped.get();
        assert!(
            lost == 1 || lost == 2,
            "{lost}: together with the first, or alone"
        );
    }
}
