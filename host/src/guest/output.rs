//! What a guest says while it runs: lines on stdout and stderr, and failures.

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

/// The longest line; the rest of a longer one becomes the next line.
pub(super) const LINE_MAX: usize = 16 << 10;

/// A line of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuestLine<'a> {
    pub origin: Origin<'a>,
    /// Without its line feed.
    pub text: &'a str,
    /// Of the request that the guest serves, where that is known.
    pub trace: Option<u128>,
}

/// How a line came to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    Stdout,
    Stderr,
    /// By `wasi:logging`.
    Log {
        level: Level,
        /// The part of the guest that speaks.
        context: &'a str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Hears of everything that happens in one pod's guests. Must not block.
pub(crate) trait GuestEvents: Send + Sync {
    /// The guest said something.
    fn line(&self, line: &GuestLine<'_>);
    /// A request failed in the guest, before or after its response began.
    /// Called once for each.
    fn failed(&self, failure: &Failure);
}

/// The trace of the request that an instance serves as it prints.
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

/// Collects what is written and hands on whole lines; what is left goes with
/// the instance's end.
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
    /// Of WASI 0.3: read when the guest has gone on, perhaps with another request.
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
    fn writes_become_lines_whatever_their_pieces() {
        let lines = Arc::new(Lines::default());
        let mut stream = LineStream::new(lines.clone(), Serving::default(), Stream::Stdout);
        stream.push(b"one\ntw");
        stream.push(b"o\n\nunfinished");
        drop(stream);
        assert_eq!(*lines.0.lock(), ["one", "two", "", "unfinished"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let lines = Arc::new(Lines::default());
        LineStream::new(lines.clone(), Serving::default(), Stream::Stderr)
            .push(&vec![b'x'; LINE_MAX + 1]);
        assert_eq!(lines.0.lock().len(), 2);
    }
}
