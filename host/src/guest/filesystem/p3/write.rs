//! Streams of a WASI 0.3 guest to a file, written piece by piece.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{ReadWriteFlags, pwritev2};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::StoreContextMut;
use wasmtime::component::{Source, StreamConsumer, StreamResult};
use wasmtime_wasi::p3::bindings::filesystem::types::ErrorCode;

use crate::guest::filesystem::quota::{Reservation, VolumeQuota};
use crate::guest::filesystem::write::Place;
use crate::guest::filesystem::{AccessError, WRITE_MAX};

pub(super) struct FileWriter {
    file: Arc<File>,
    place: Place,
    quota: Option<Arc<VolumeQuota>>,
    ended: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    writing: Option<JoinHandle<io::Result<usize>>>,
    /// Counts this writer for its instance.
    _token: Arc<()>,
}

impl FileWriter {
    pub(super) fn new(
        file: Arc<File>,
        place: Place,
        quota: Option<Arc<VolumeQuota>>,
        token: Arc<()>,
        ended: oneshot::Sender<Result<(), ErrorCode>>,
    ) -> Self {
        Self {
            file,
            place,
            quota,
            ended: Some(ended),
            writing: None,
            _token: token,
        }
    }

    fn end(&mut self, result: Result<(), ErrorCode>) {
        if let Some(ended) = self.ended.take() {
            // Fails if the guest has dropped the other end.
            let _ = ended.send(result);
        }
    }

    fn begin(&self, bytes: Vec<u8>) -> JoinHandle<io::Result<usize>> {
        let (file, place, quota) = (self.file.clone(), self.place, self.quota.clone());
        tokio::spawn(async move {
            let reserved = match quota {
                Some(quota) => {
                    let end = place.end(&file, bytes.len());
                    let reserved = quota.reserve_growth(&file, end).await;
                    reserved.map_err(AccessError::from)?
                }
                None => Reservation::default(),
            };
            let written = tokio::task::spawn_blocking(move || {
                let _reserved = reserved;
                write(&file, place, &bytes)
            });
            written.await.map_err(io::Error::other)?
        })
    }
}

impl<D> StreamConsumer<D> for FileWriter {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<D>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        if self.writing.is_none() {
            let bytes = source.remaining();
            let piece = bytes.get(..WRITE_MAX).unwrap_or(bytes).to_vec();
            self.writing = Some(self.begin(piece));
        }
        let Some(writing) = &mut self.writing else {
            return Poll::Ready(Ok(StreamResult::Completed));
        };
        // Waits even if the guest wants to stop, because it is told how much was written.
        let written = ready!(Pin::new(writing).poll(context));
        self.writing = None;
        match written {
            Ok(Ok(length)) => {
                source.mark_read(length);
                self.place.advance(length);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Ok(Err(error)) => {
                self.end(Err(error.into()));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Err(error) => Poll::Ready(Err(wasmtime::Error::new(error))),
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

fn write(file: &File, place: Place, bytes: &[u8]) -> io::Result<usize> {
    match place {
        Place::At(offset) => file.write_at(bytes, offset),
        Place::End => {
            let written = pwritev2(file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND);
            Ok(written?)
        }
    }
}
