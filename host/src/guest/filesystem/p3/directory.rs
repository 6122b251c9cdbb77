//! The entries of a folder for a WASI 0.3 guest: read at once, and delivered as the guest
//! reads them.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult, VecBuffer};
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use crate::guest::filesystem::usage::ENTRIES_MAX;

/// How many entries are delivered at once.
const BATCH: usize = 256;

pub(super) struct DirectoryReader {
    reading: Option<JoinHandle<Result<Vec<DirectoryEntry>, ErrorCode>>>,
    /// The entries that were read but not delivered yet, in reverse order.
    rest: Vec<DirectoryEntry>,
    ended: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    /// Counts this reader for its instance.
    _token: Arc<()>,
}

impl DirectoryReader {
    pub(super) fn new(
        folder: Arc<File>,
        token: Arc<()>,
        ended: oneshot::Sender<Result<(), ErrorCode>>,
    ) -> Self {
        Self {
            reading: Some(tokio::task::spawn_blocking(move || entries(&folder))),
            rest: Vec::new(),
            ended: Some(ended),
            _token: token,
        }
    }

    fn end(&mut self, result: Result<(), ErrorCode>) {
        if let Some(ended) = self.ended.take() {
            // Fails if the guest has dropped the other end.
            let _ = ended.send(result);
        }
    }
}

impl<D> StreamProducer<D> for DirectoryReader {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, DirectoryEntry, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(reading) = &mut self.reading {
            let read = match Pin::new(reading).poll(context) {
                Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
                read => ready!(read),
            };
            self.reading = None;
            match read {
                Ok(Ok(entries)) => self.rest = entries,
                Ok(Err(error)) => {
                    self.end(Err(error));
                    return Poll::Ready(Ok(StreamResult::Dropped));
                }
                Err(error) => return Poll::Ready(Err(wasmtime::Error::new(error))),
            }
        }
        // A guest that reads nothing only waits until there are entries.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let given = self.rest.len().saturating_sub(BATCH);
        let mut batch = self.rest.split_off(given);
        batch.reverse();
        if batch.is_empty() {
            self.end(Ok(()));
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        destination.set_buffer(batch.into());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for DirectoryReader {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

fn entries(folder: &File) -> Result<Vec<DirectoryEntry>, ErrorCode> {
    let mut entries = Vec::new();
    // The guest's own handle may be open only as a path, and its position must not change.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(folder, c".", flags, Mode::empty()).map_err(io::Error::from)?;
    for entry in Dir::new(opened).map_err(io::Error::from)? {
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        if entries.len() as u64 >= ENTRIES_MAX {
            return Err(ErrorCode::InsufficientMemory);
        }
        let kind = match entry.file_type() {
            FileType::Unknown => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| {
                    FileType::from_raw_mode(stat.st_mode)
                }),
            kind => kind,
        };
        let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?;
        entries.push(DirectoryEntry {
            type_: descriptor_type(kind),
            name: name.to_owned(),
        });
    }
    entries.reverse();
    Ok(entries)
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::Unknown => DescriptorType::Other(None),
    }
}
