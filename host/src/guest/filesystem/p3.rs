//! The functions of `wasi:filesystem@0.3` that have limits.

mod directory;
mod write;

use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Accessor, ComponentNamedList, FutureReader, Lift, Linker, LinkerInstance, Lower, Resource,
    StreamReader,
};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p3::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DirectoryEntry, ErrorCode, HostDescriptorWithStore, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::quota::{Reservation, VolumeQuota};
use super::write::Place;
use super::{AccessError, p2, view};
use crate::guest::state::GuestState;
use directory::DirectoryReader;
use write::FileWriter;

type Fd = Resource<Descriptor>;
type Store<'a> = StoreContextMut<'a, GuestState>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;
type PinnedFuture<'a, R> = std::pin::Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;
/// The result of a stream, which is known after the function has returned.
type Ending = FutureReader<Result<(), ErrorCode>>;

const PREOPENS: &str = "wasi:filesystem/preopens@0.3.0";
const TYPES: &str = "wasi:filesystem/types@0.3.0";

#[expect(clippy::too_many_lines, reason = "a table of functions")]
pub(super) fn bound(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker
        .instance(PREOPENS)?
        .func_wrap("get-directories", |mut store: Store<'_>, (): ()| {
            let folders = view(store.data_mut()).get_directories()?;
            p2::note_mounts(store.data_mut(), &folders)?;
            Ok((folders,))
        })?;
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |store: Store<'_>, (fd, data, offset): (Fd, StreamReader<u8>, u64)| {
            Ok((write(store, &fd, data, Place::At(offset))?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |store: Store<'_>, (fd, data): (Fd, StreamReader<u8>)| {
            Ok((write(store, &fd, data, Place::End)?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-directory",
        |store: Store<'_>, (fd,): (Fd,)| Ok((read_directory(store, &fd)?,)),
    )?;
    wrap(&mut types, "[method]descriptor.set-size", |store, args| {
        Box::pin(async move { answer(set_size(store, args).await) })
    })?;
    wrap(&mut types, "[method]descriptor.open-at", |store, args| {
        Box::pin(async move { answer(open_at(store, args).await) })
    })?;
    wrap(
        &mut types,
        "[method]descriptor.create-directory-at",
        |store, (fd, path): (Fd, String)| {
            Box::pin(async move {
                let made = async {
                    let _reserved = reserve_entry(store, &fd).await?;
                    WasiFilesystem::create_directory_at(&wasi(store), fd, path).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.symlink-at",
        |store, (fd, target, path): (Fd, String, String)| {
            Box::pin(async move {
                let made = async {
                    let _reserved = reserve_entry(store, &fd).await?;
                    WasiFilesystem::symlink_at(&wasi(store), fd, target, path).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.link-at",
        |store, (fd, flags, from, to_fd, to): (Fd, PathFlags, String, Fd, String)| {
            Box::pin(async move {
                let made = async {
                    same_volume(store, &fd, &to_fd)?;
                    let _reserved = reserve_entry(store, &to_fd).await?;
                    WasiFilesystem::link_at(&wasi(store), fd, flags, from, to_fd, to).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.rename-at",
        |store, (fd, from, to_fd, to): (Fd, String, Fd, String)| {
            Box::pin(async move {
                let moved = async {
                    same_volume(store, &fd, &to_fd)?;
                    WasiFilesystem::rename_at(&wasi(store), fd, from, to_fd, to).await
                };
                answer(moved.await)
            })
        },
    )
}

/// Replaces an asynchronous function by another.
fn wrap<P, R>(
    types: &mut LinkerInstance<'_, GuestState>,
    name: &str,
    function: fn(&Accessor<GuestState>, P) -> PinnedFuture<'_, R>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + 'static,
{
    types.func_wrap_concurrent(name, function)
}

fn answer<T>(result: FilesystemResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// The same store, in the form that wasmtime's own functions need.
fn wasi(store: &Accessor<GuestState>) -> Accessor<GuestState, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(view)
}

fn descriptor<'a>(state: &'a GuestState, fd: &Fd) -> FilesystemResult<&'a Descriptor> {
    state.table.get(fd).map_err(FilesystemError::trap)
}

fn quota(
    store: &Accessor<GuestState>,
    fd: &Fd,
) -> FilesystemResult<(Descriptor, Option<Arc<VolumeQuota>>)> {
    store.with(|mut access| {
        let state = access.get();
        let descriptor = descriptor(state, fd)?;
        Ok((descriptor.clone(), state.files.quota(descriptor)))
    })
}

async fn reserve_entry(store: &Accessor<GuestState>, fd: &Fd) -> FilesystemResult<Reservation> {
    match quota(store, fd)?.1 {
        Some(quota) => Ok(quota.reserve_entry().await.map_err(AccessError::from)?),
        None => Ok(Reservation::default()),
    }
}

fn same_volume(store: &Accessor<GuestState>, from: &Fd, to: &Fd) -> FilesystemResult<()> {
    store.with(|mut access| {
        let state = access.get();
        let (from, to) = (descriptor(state, from)?, descriptor(state, to)?);
        Ok(state.files.same_volume(from, to)?)
    })
}

async fn set_size(store: &Accessor<GuestState>, (fd, size): (Fd, u64)) -> FilesystemResult<()> {
    let _reserved = match quota(store, &fd)? {
        (Descriptor::File(file), Some(quota)) => {
            let reserved = quota.reserve_growth(&file.file, size).await;
            reserved.map_err(AccessError::from)?
        }
        _ => Reservation::default(),
    };
    WasiFilesystem::set_size(&wasi(store), fd, size).await
}

async fn open_at(
    store: &Accessor<GuestState>,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> FilesystemResult<Fd> {
    let slots = store.with(|mut access| access.get().files.admit())?;
    let (_, quota) = quota(store, &fd)?;
    let folder = || Fd::new_borrow(fd.rep());
    let wasi = wasi(store);
    let mut _reserved = Reservation::default();
    if open_flags.contains(OpenFlags::CREATE) {
        let there = WasiFilesystem::stat_at(&wasi, folder(), path_flags, path.clone());
        if there.await.is_err() {
            _reserved = reserve_entry(store, &fd).await?;
        }
    }
    let opened =
        WasiFilesystem::open_at(&wasi, folder(), path_flags, path, open_flags, flags).await?;
    store.with(|mut access| {
        let state = access.get();
        let descriptor = descriptor(state, &opened)?.clone();
        state.files.opened(&descriptor, slots, quota);
        Ok(opened)
    })
}

/// Writes the stream `data`, and reserves the space before each write.
fn write(
    mut store: Store<'_>,
    fd: &Fd,
    mut data: StreamReader<u8>,
    place: Place,
) -> wasmtime::Result<Ending> {
    let (ended, ending) = oneshot::channel();
    let state = store.data();
    let descriptor = state.table.get(fd)?;
    let file = match descriptor {
        Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor),
        Descriptor::File(file) if file.perms == FsPerms::ReadOnly => Err(ErrorCode::NotPermitted),
        Descriptor::File(file) => Ok(file.file.clone()),
    };
    let quota = state.files.quota(descriptor);
    let admitted = file.and_then(|file| Ok((file, state.files.writers.admit()?)));
    match admitted {
        Ok((file, token)) => {
            data.pipe(
                &mut store,
                FileWriter::new(file, place, quota, token, ended),
            )?;
        }
        Err(error) => {
            data.close(&mut store)?;
            // Fails if the guest has dropped the other end.
            let _ = ended.send(Err(error));
        }
    }
    FutureReader::new(&mut store, ending)
}

/// Reads the whole folder at once, so that no thread is blocked while the guest does not read.
fn read_directory(
    mut store: Store<'_>,
    fd: &Fd,
) -> wasmtime::Result<(StreamReader<DirectoryEntry>, Ending)> {
    let (ended, ending) = oneshot::channel();
    let state = store.data_mut();
    let descriptor = state.table.get(fd)?;
    let entries = state.files.quota(descriptor).map_or(0, |it| it.entries());
    let folder = match descriptor {
        Descriptor::Dir(folder) => Ok(folder.dir.clone()),
        Descriptor::File(_) => Err(ErrorCode::NotDirectory),
    };
    let admitted = folder.and_then(|folder| {
        let token = state.files.directories.admit(entries)?;
        Ok((folder, token))
    });
    let stream = match admitted {
        Ok((folder, token)) => {
            StreamReader::new(&mut store, DirectoryReader::new(folder, token, ended))?
        }
        Err(error) => {
            let _ = ended.send(Err(error));
            StreamReader::new(&mut store, std::iter::empty())?
        }
    };
    Ok((stream, FutureReader::new(&mut store, ending)?))
}

impl From<AccessError> for ErrorCode {
    fn from(refused: AccessError) -> Self {
        match refused {
            AccessError::Space => Self::InsufficientSpace,
            AccessError::Descriptors => Self::InsufficientMemory,
            AccessError::CrossDevice => Self::CrossDevice,
        }
    }
}

impl From<AccessError> for FilesystemError {
    fn from(refused: AccessError) -> Self {
        ErrorCode::from(refused).into()
    }
}
