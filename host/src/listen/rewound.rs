//! A stream of which the first bytes were read to find out what it is, and are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The first byte of a TLS connection: a record of the type `handshake` (RFC 8446, 5.1). No
/// request of HTTP begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// See the module's documentation.
pub(super) struct Rewound<T> {
    first: Bytes,
    stream: T,
}

impl<T> Rewound<T> {
    pub(super) fn new(first: Bytes, stream: T) -> Self {
        Self { first, stream }
    }

    /// Whether the client begins a TLS handshake.
    pub(super) fn begins_tls(&self) -> bool {
        self.first.first() == Some(&TLS_HANDSHAKE)
    }
}

impl<T: AsyncRead + Unpin> Rewound<T> {
    /// Waits for the first byte.
    pub(super) async fn of(mut stream: T) -> io::Result<Self> {
        let mut byte = [0];
        let count = stream.read(&mut byte).await?;
        let first = Bytes::copy_from_slice(byte.get(..count).unwrap_or_default());
        Ok(Self { first, stream })
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(self.first.get(..count).unwrap_or_default());
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
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
