//! Output streams of WASI 0.2 to files, which reserve space before they write.

use std::fs::File;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::WRITE_MAX;
use super::quota::{Full, Reservation, VolumeQuota};

/// The position of a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    At(u64),
    End,
}

impl Place {
    /// The end of a write of `length` bytes.
    pub(super) fn end(self, file: &File, length: usize) -> u64 {
        let begin = match self {
            Self::At(offset) => offset,
            Self::End => file.metadata().map_or(0, |metadata| metadata.len()),
        };
        begin.saturating_add(length as u64)
    }

    pub(super) fn advance(&mut self, length: usize) {
        if let Self::At(offset) = self {
            *offset = offset.saturating_add(length as u64);
        }
    }
}

pub(super) struct WriteStream {
    inner: DynOutputStream,
    file: Arc<File>,
    place: Place,
    quota: Arc<VolumeQuota>,
    /// For the write in progress.
    reserved: Reservation,
    /// Whether the volume has been measured since the last write.
    is_measured: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A write failed for lack of space, and the guest has not been told yet.
    Full,
    /// The guest has been told.
    Closed,
}

impl WriteStream {
    pub(super) fn new(
        inner: DynOutputStream,
        file: Arc<File>,
        place: Place,
        quota: Arc<VolumeQuota>,
    ) -> Self {
        Self {
            inner,
            file,
            place,
            quota,
            reserved: Reservation::default(),
            is_measured: false,
            state: State::Open,
        }
    }

    /// Whether a write of `length` bytes fails unless a measurement finds space.
    fn lacks_room(&self, length: usize) -> bool {
        let end = self.place.end(&self.file, length.min(WRITE_MAX));
        !self.is_measured && self.quota.lacks_room(&self.file, end)
    }

    /// # Errors
    /// An earlier write failed for lack of space.
    fn check(&mut self) -> StreamResult<()> {
        match self.state {
            State::Open => Ok(()),
            State::Full => {
                self.state = State::Closed;
                Err(full())
            }
            State::Closed => Err(StreamError::Closed),
        }
    }
}

fn full() -> StreamError {
    StreamError::LastOperationFailed(std::io::Error::from(Full).into())
}

#[async_trait]
impl Pollable for WriteStream {
    async fn ready(&mut self) {
        self.inner.ready().await;
        // No write is in progress any more.
        drop(mem::take(&mut self.reserved));
        if self.lacks_room(WRITE_MAX) {
            self.quota.refresh().await;
            self.is_measured = true;
        }
    }
}

#[async_trait]
impl OutputStream for WriteStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        let (length, end) = (bytes.len(), self.place.end(&self.file, bytes.len()));
        match self.quota.try_reserve_growth(&self.file, end) {
            Ok(reserved) => self.reserved = reserved,
            // Reported by the next call, like any failed write.
            Err(Full) => {
                self.quota.note_exceeded(length as u64);
                self.state = State::Full;
                return Ok(());
            }
        }
        self.inner.write(bytes)?;
        self.is_measured = false;
        self.place.advance(length);
        Ok(())
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.check()?;
        self.inner.ready().await;
        let (length, end) = (bytes.len(), self.place.end(&self.file, bytes.len()));
        let reserved = self.quota.reserve_growth(&self.file, end).await;
        let Ok(reserved) = reserved else {
            self.state = State::Closed;
            return Err(full());
        };
        self.inner.blocking_write_and_flush(bytes).await?;
        drop(reserved);
        self.place.advance(length);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()?;
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        let capacity = self.inner.check_write()?.min(WRITE_MAX);
        // `ready` measures the volume.
        if capacity > 0 && self.lacks_room(capacity) {
            return Ok(0);
        }
        Ok(capacity)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
