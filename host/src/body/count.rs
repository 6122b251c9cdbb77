//! Counts the bytes that are read of a body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;

use super::{AnyBody, Discard, Rest, Watch, Watcher, empty};
use crate::Body;

/// The bytes that were read of one body so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByteCount(
    /// None if there is no body.
    Option<Arc<AtomicU64>>,
);

/// Counts into a [`ByteCount`].
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    /// `body`, counted and with its unread `rest` discarded (what is discarded counts
    /// too), and the count.
    pub(crate) fn boxed(body: impl AnyBody, rest: Rest) -> (Body, ByteCount) {
        if body.is_end_stream() {
            return (empty(), ByteCount::default());
        }
        let bytes = Arc::<AtomicU64>::default();
        let body = Watch::new(body, Self(bytes.clone()));
        (
            Discard::new(body, rest).boxed_unsync(),
            ByteCount(Some(bytes)),
        )
    }
}

impl Watcher for Count {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.0.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }
}

impl ByteCount {
    pub(crate) fn get(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::full;

    #[tokio::test]
    async fn what_is_read_and_what_is_discarded_is_counted() {
        let (body, count) = Count::boxed(full("order 66"), Rest::Nothing);
        assert_eq!(count.get(), 0);
        body.collect().await.expect("a body");
        assert_eq!(count.get(), 8);

        let (body, count) = Count::boxed(full("order 66"), Rest::All);
        drop(body);
        assert_eq!(count.get(), 8);

        let (body, count) = Count::boxed(full("order 66"), Rest::Nothing);
        drop(body);
        assert_eq!(count.get(), 0);
    }
}
