//! The HTTP version that a client speaks: as selected in the TLS handshake, or detected from
//! the first bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::activity::Version;
use super::rewound::Rewound;

/// The first bytes of every HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream of a known HTTP version, including the bytes that were read to detect it.
pub(super) struct HttpStream<T> {
    pub(super) version: Version,
    pub(super) stream: Rewound<T>,
}

impl<T> HttpStream<T> {
    /// The version that the client has selected in the TLS handshake.
    pub(super) fn negotiated(version: Version, stream: T) -> Self {
        Self {
            version,
            stream: Rewound::new(Bytes::new(), stream),
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
            stream: Rewound::new(first.freeze(), stream),
        })
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
        opened.stream.read_to_end(&mut all).await.expect("all");
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
