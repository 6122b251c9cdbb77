//! Limits the size of a server's messages. The protocol allows a gigabyte, and a message is
//! read as a whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::filtered::{Filtered, ReadFilter};
use crate::guest::sql::answer::BYTES_MAX;

/// A row is one message, which is as large as a result may be, plus its length fields.
const MESSAGE_MAX: usize = BYTES_MAX + (1 << 20);

/// The type of a message and its length.
const HEADER: usize = 5;

/// Checks the messages that are received. The stream fails at the first message that is too
/// long.
pub(super) type Frames<S> = Filtered<S, Check>;

pub(super) struct Check {
    counter: Counter,
    overflowed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Counter {
    header: [u8; HEADER],
    /// The number of bytes of `header` that have been received.
    filled: usize,
    /// The number of bytes of the message that are still missing.
    left: usize,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, overflowed: Arc<AtomicBool>) -> Self {
        let filter = Check {
            counter: Counter::default(),
            overflowed,
        };
        Self { stream, filter }
    }
}

impl Counter {
    /// Whether all messages in `bytes` are short enough.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let body = self.left.min(bytes.len());
            self.left -= body;
            bytes = bytes.get(body..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                break;
            };
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            bytes = rest;
            if self.filled < HEADER {
                continue;
            }
            let [_, length @ ..] = self.header;
            // The length includes the length field.
            let length = u32::from_be_bytes(length).saturating_sub(4) as usize;
            if length > MESSAGE_MAX {
                return false;
            }
            (self.filled, self.left) = (0, length);
        }
        true
    }
}

impl ReadFilter for Check {
    fn poll_read<S: AsyncRead>(
        &mut self,
        stream: Pin<&mut S>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(stream.poll_read(context, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if self.counter.pass(new) {
            return Poll::Ready(Ok(()));
        }
        self.overflowed.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::other("a message is too large")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![b'D'];
        let declared = u32::try_from(length + 4).expect("a length");
        message.extend(declared.to_be_bytes());
        message.resize(HEADER + length, 0xff);
        message
    }

    #[test]
    fn messages_are_accepted_in_any_fragmentation() {
        let bytes = [message(0), message(7), message(MESSAGE_MAX), message(3)].concat();
        for piece in [1, 4, 5, 6, 1000, bytes.len()] {
            let mut counter = Counter::default();
            assert!(bytes.chunks(piece).all(|piece| counter.pass(piece)));
            assert_eq!((counter.filled, counter.left), (0, 0));
        }
    }

    #[test]
    fn too_long_message_is_detected_in_its_header() {
        let bytes = message(MESSAGE_MAX + 1);
        assert!(!Counter::default().pass(&bytes[..HEADER]));
        let mut counter = Counter::default();
        assert!(counter.pass(&bytes[..HEADER - 1]));
        assert!(!counter.pass(&bytes[HEADER - 1..]));
    }
}
