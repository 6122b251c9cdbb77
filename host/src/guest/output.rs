//! The output of a running guest: lines on stdout and stderr, and failures.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::Failure;
use super::logging::Level;

/// The longest line, in bytes. The rest of a longer line becomes the next line.
pub(super) const LINE_MAX: usize = 16 << 10;

/// A line of output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestLine<'a> {
    pub origin: Origin<'a>,
    /// Without the line feed.
    pub text: &'a str,
    /// The request that the guest serves, if known.
    pub trace: Option<u128>,
}

/// How a line was written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    Stdout,
    Stderr,
    /// With `wasi:logging`.
    Log {
        level: Level,
        /// The part of the guest that logs.
        context: &'a str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Receives the events of one pod's guests. Must not block.
pub(crate) trait GuestEvents: Send + Sync {
    /// The guest wrote a line.
    fn line(&self, line: &GuestLine<'_>);
    /// A request failed in the guest, before or after the start of its response. Called once
    /// for each failure.
    fn failed(&self, failure: &Failure);
}

/// The trace of the request that an instance currently serves.
#[derive(Debug, Clone, Default)]
pub(super) struct Serving(Arc<Mutex<Option<u128>>>);

impl Serving {
    pub(super) fn set(&self, trace: Option<u128>) {
        *self.lock() = trace;
    }

    fn trace(&self) -> Option<u128> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<u128>> {
        self.0.lock()
    }
}

/// Collects writes and emits whole lines. An unfinished line is emitted when the instance
/// ends.
#[derive(Clone)]
pub(super) struct LineStream {
    events: Arc<dyn GuestEvents>,
    serving: Serving,
    stream: Stream,
    partial: Vec<u8>,
}

impl LineStream {
    pub(super) fn new(events: Arc<dyn GuestEvents>, serving: Serving, stream: Stream) -> Self {
        Self {
            events,
            serving,
            stream,
            partial: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
            if *byte == b'\n' || self.partial.len() >= LINE_MAX {
                self.emit();
            }
        }
    }

    fn emit(&mut self) {
        self.events.line(&GuestLine {
            origin: match self.stream {
                Stream::Stdout => Origin::Stdout,
                Stream::Stderr => Origin::Stderr,
            },
            text: &String::from_utf8_lossy(&self.partial),
            trace: self.serving.trace(),
        });
        self.partial.clear();
    }
}

impl Drop for LineStream {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.emit();
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    /// WASI 0.3: read later, when the guest may already serve another request.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        let (events, serving) = (self.events.clone(), Serving::default());
        Box::new(Self::new(events, serving, self.stream))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl GuestEvents for Lines {
        fn line(&self, line: &GuestLine<'_>) {
            self.0.lock().push(line.text.into());
        }

        fn failed(&self, _failure: &Failure) {}
    }

    #[test]
    fn lines_do_not_depend_on_the_sizes_of_writes() {
        let lines = Arc::new(Lines::default());
        let mut stream = LineStream::new(lines.clone(), Serving::default(), Stream::Stdout);
        stream.push(b"one\ntw");
        stream.push(b"o\n\nunfinished");
        drop(stream);
        assert_eq!(*lines.0.lock(), ["one", "two", "", "unfinished"]);
    }

    #[test]
    fn endless_line_is_split() {
        let lines = Arc::new(Lines::default());
        LineStream::new(lines.clone(), Serving::default(), Stream::Stderr)
            .push(&vec![b'x'; LINE_MAX + 1]);
        assert_eq!(lines.0.lock().len(), 2);
    }
}
