//! The HTTP version that a client speaks: as selected in the TLS handshake, or detected from
//! the first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::activity::Version;

/// The first bytes of every HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream of a known HTTP version, including the bytes that were read to detect it.
pub(super) struct HttpStream<T> {
    pub(super) version: Version,
    first: Bytes,
    stream: T,
}

impl<T> HttpStream<T> {
    /// The version that the client has selected in the TLS handshake.
    pub(super) fn negotiated(version: Version, stream: T) -> Self {
        Self {
            version,
            first: Bytes::new(),
            stream,
        }
    }
}

impl<T: AsyncRead + Unpin> HttpStream<T> {
    /// Reads until the version is known. A stream that ends earlier is treated as HTTP/1.
    pub(super) async fn of(mut stream: T) -> io::Result<Self> {
        let mut first = BytesMut::with_capacity(PREFACE.len());
        let version = loop {
            let known = PREFACE.get(..first.len());
            if known != Some(&first[..]) {
                break Version::Http1;
            }
            if first.len() == PREFACE.len() {
                break Version::Http2;
            }
            let missing = PREFACE.len() - first.len();
            let mut limited = (&mut stream).take(missing as u64);
            if limited.read_buf(&mut first).await? == 0 {
                break Version::Http1;
            }
        };
        Ok(Self {
            version,
            first: first.freeze(),
            stream,
        })
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HttpStream<T> {
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

impl<T: AsyncWrite + Unpin> AsyncWrite for HttpStream<T> {
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn opened(pieces: &[&[u8]]) -> (Version, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(1_024);
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let client = tokio::spawn(async move {
            for piece in pieces {
                far.write_all(&piece).await.expect("a reader");
                tokio::task::yield_now().await;
            }
        });
        let mut opened = HttpStream::of(near).await.expect("a version");
        let mut all = Vec::new();
        opened.read_to_end(&mut all).await.expect("all");
        client.await.expect("no failure");
        (opened.version, all)
    }

    #[tokio::test]
    async fn version_is_detected_from_the_first_bytes_and_none_is_lost() {
        let frames = [PREFACE, b"frames"].concat();
        for (pieces, version, all) in [
            (vec![&frames[..]], Version::Http2, &frames[..]),
            (vec![&frames[..7], &frames[7..]], Version::Http2, &frames),
            (
                vec![b"GET / HTTP/1.1\r\n".as_slice()],
                Version::Http1,
                b"GET / HTTP/1.1\r\n",
            ),
            (
                vec![b"P".as_slice(), b"RI ", b"/x"],
                Version::Http1,
                b"PRI /x",
            ),
            (vec![b"".as_slice()], Version::Http1, b""),
        ] {
            assert_eq!(opened(&pieces).await, (version, all.to_vec()));
        }
    }
}
