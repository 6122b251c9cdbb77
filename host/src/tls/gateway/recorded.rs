//! A stream whose first bytes are kept, until it is known who reads them: the host, or the
//! server that the connection is passed through to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept. A client's first message has at most 64 KiB, in records of 16 KiB with
/// a header each.
const KEPT_MAX: usize = 80 << 10;

/// See the module's documentation.
pub(crate) struct Recorded<S> {
    stream: S,
    /// None if nothing is kept.
    first: Option<Vec<u8>>,
}

impl<S> Recorded<S> {
    pub(super) fn new(stream: S, is_kept: bool) -> Self {
        Self {
            stream,
            first: is_kept.then(Vec::new),
        }
    }

    /// Keeps nothing more.
    pub(super) fn forget(&mut self) {
        self.first = None;
    }

    /// The bytes that were read, and the stream after them.
    pub(super) fn into_parts(self) -> (Vec<u8>, S) {
        (self.first.unwrap_or_default(), self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(first) = &mut self.first {
            let new = buffer.filled().get(before..).unwrap_or_default();
            if first.len() + new.len() > KEPT_MAX {
                return Poll::Ready(Err(io::Error::other("the first message is too large")));
            }
            first.extend_from_slice(new);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
