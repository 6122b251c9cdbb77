//! A stream whose first bytes are kept, until it is known who reads them: the host, or the
//! server that the connection is passed through to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::filtered::{Filtered, ReadFilter};

/// Bytes that are kept. A client's first message has at most 64 KiB, in records of 16 KiB with
/// a header each.
const KEPT_MAX: usize = 80 << 10;

/// See the module's documentation.
pub(crate) type Recorded<S> = Filtered<S, Record>;

/// The bytes that were read; None if nothing is kept.
pub(crate) struct Record(Option<Vec<u8>>);

impl<S> Recorded<S> {
    pub(super) fn new(stream: S, is_kept: bool) -> Self {
        let filter = Record(is_kept.then(Vec::new));
        Self { stream, filter }
    }

    /// Keeps nothing more.
    pub(super) fn forget(&mut self) {
        self.filter = Record(None);
    }

    /// The bytes that were read, and the stream after them.
    pub(super) fn into_parts(self) -> (Vec<u8>, S) {
        let Record(first) = self.filter;
        (first.unwrap_or_default(), self.stream)
    }
}

impl ReadFilter for Record {
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = stream.poll_read(context, buffer);
        if let Self(Some(first)) = self {
            let new = buffer.filled().get(before..).unwrap_or_default();
            if first.len() + new.len() > KEPT_MAX {
                return Poll::Ready(Err(io::Error::other("the first message is too large")));
            }
            first.extend_from_slice(new);
        }
        read
    }
}
