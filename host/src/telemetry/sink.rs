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
    /// Starts the writer. `dropped` counts the lines that did not fit.
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
            // A reader that went away is no reason to stop serving.
            let _ = output.write_all(&bytes).and_then(|()| output.flush());
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
