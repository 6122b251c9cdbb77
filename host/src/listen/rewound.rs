//! A stream of which the first bytes were read to find out what it is, and are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::filtered::{Filtered, ReadFilter};

/// The first byte of a TLS connection: a record of the type `handshake` (RFC 8446, 5.1). No
/// request of HTTP begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// See the module's documentation.
pub(super) type Rewound<T> = Filtered<T, First>;

/// The bytes that are read again.
pub(super) struct First(Bytes);

impl<T> Rewound<T> {
    pub(super) fn new(first: Bytes, stream: T) -> Self {
        let filter = First(first);
        Self { stream, filter }
    }

    /// Whether the client begins a TLS handshake.
    pub(super) fn begins_tls(&self) -> bool {
        self.filter.0.first() == Some(&TLS_HANDSHAKE)
    }
}

impl<T: AsyncRead + Unpin> Rewound<T> {
    /// Waits for the first byte.
    pub(super) async fn of(mut stream: T) -> io::Result<Self> {
        let mut byte = [0];
        let count = stream.read(&mut byte).await?;
        let first = Bytes::copy_from_slice(byte.get(..count).unwrap_or_default());
        Ok(Self::new(first, stream))
    }
}

impl ReadFilter for First {
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self(first) = self;
        if first.is_empty() {
            return stream.poll_read(context, buffer);
        }
        let count = first.len().min(buffer.remaining());
        buffer.put_slice(first.get(..count).unwrap_or_default());
        first.advance(count);
        Poll::Ready(Ok(()))
    }
}
