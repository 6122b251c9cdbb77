//! The functions of `wasi:filesystem@0.2` that have limits.

use std::io;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult, ReaddirIterator};

use super::quota::{Reservation, VolumeQuota};
use super::write::{Place, WriteStream};
use super::{AccessError, WRITE_MAX, view};
use crate::guest::state::GuestState;

type Fd = Resource<Descriptor>;
type Store<'a> = StoreContextMut<'a, GuestState>;
type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// The version that wasmtime links. Guests of other 0.2 versions get the same functions.
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";
const TYPES: &str = "wasi:filesystem/types@0.2.12";

#[expect(clippy::too_many_lines, reason = "a table of functions")]
pub(super) fn bound(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker
        .instance(PREOPENS)?
        .func_wrap("get-directories", |mut store: Store<'_>, (): ()| {
            let folders = view(store.data_mut()).get_directories()?;
            note_mounts(store.data_mut(), &folders)?;
            Ok((folders,))
        })?;
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            answer(read_stream(store.data_mut(), fd, offset))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: Store<'_>, (fd, offset): (Fd, u64)| {
            answer(stream(store.data_mut(), &fd, Place::At(offset)))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: Store<'_>, (fd,): (Fd,)| answer(stream(store.data_mut(), &fd, Place::End)),
    )?;
    wrap(&mut types, "[method]descriptor.write", |mut store, args| {
        Box::new(async move { answer(write(store.data_mut(), args).await) })
    })?;
    wrap(
        &mut types,
        "[method]descriptor.set-size",
        |mut store, args| Box::new(async move { answer(set_size(store.data_mut(), args).await) }),
    )?;
    wrap(
        &mut types,
        "[method]descriptor.open-at",
        |mut store, args| Box::new(async move { answer(open_at(store.data_mut(), args).await) }),
    )?;
    wrap(
        &mut types,
        "[method]descriptor.create-directory-at",
        |mut store, (fd, path): (Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let made = async {
                    let _reserved = reserve_entry(state, &fd).await?;
                    view(state).create_directory_at(fd, path).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.symlink-at",
        |mut store, (fd, target, path): (Fd, String, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let made = async {
                    let _reserved = reserve_entry(state, &fd).await?;
                    view(state).symlink_at(fd, target, path).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.link-at",
        |mut store, (fd, flags, from, to_fd, to): (Fd, PathFlags, String, Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let made = async {
                    same_volume(state, &fd, &to_fd)?;
                    let _reserved = reserve_entry(state, &to_fd).await?;
                    view(state).link_at(fd, flags, from, to_fd, to).await
                };
                answer(made.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.rename-at",
        |mut store, (fd, from, to_fd, to): (Fd, String, Fd, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let moved = async {
                    same_volume(state, &fd, &to_fd)?;
                    view(state).rename_at(fd, from, to_fd, to).await
                };
                answer(moved.await)
            })
        },
    )?;
    wrap(
        &mut types,
        "[method]descriptor.read-directory",
        |mut store, (fd,): (Fd,)| {
            Box::new(async move { answer(read_directory(store.data_mut(), fd).await) })
        },
    )
}

/// Replaces an asynchronous function by another.
fn wrap<P, R>(
    types: &mut LinkerInstance<'_, GuestState>,
    name: &str,
    function: fn(Store<'_>, P) -> Box<dyn Future<Output = wasmtime::Result<R>> + Send + '_>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + 'static,
{
    types.func_wrap_async(name, function)
}

fn answer<T>(result: FsResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

pub(super) fn note_mounts(
    state: &mut GuestState,
    folders: &[(Fd, String)],
) -> wasmtime::Result<()> {
    for (fd, guest_path) in folders {
        state.files.mounted(state.table.get(fd)?, guest_path);
    }
    Ok(())
}

fn quota(state: &GuestState, fd: &Fd) -> FsResult<Option<Arc<VolumeQuota>>> {
    Ok(state.files.quota(state.table.get(fd)?))
}

async fn reserve_entry(state: &mut GuestState, fd: &Fd) -> FsResult<Reservation> {
    match quota(state, fd)? {
        Some(quota) => Ok(quota.reserve_entry().await.map_err(AccessError::from)?),
        None => Ok(Reservation::default()),
    }
}

fn same_volume(state: &GuestState, from: &Fd, to: &Fd) -> FsResult<()> {
    let (from, to) = (state.table.get(from)?, state.table.get(to)?);
    Ok(state.files.same_volume(from, to)?)
}

/// Reserves the space for extending the file of `fd` to `end`. If `fd` is not a file, wasmtime
/// rejects the operation.
async fn reserve_growth(state: &mut GuestState, fd: &Fd, end: u64) -> FsResult<Reservation> {
    let Descriptor::File(file) = state.table.get(fd)? else {
        return Ok(Reservation::default());
    };
    let file = file.file.clone();
    match quota(state, fd)? {
        Some(quota) => Ok((quota.reserve_growth(&file, end).await).map_err(AccessError::from)?),
        None => Ok(Reservation::default()),
    }
}

async fn write(
    state: &mut GuestState,
    (fd, mut bytes, offset): (Fd, Vec<u8>, u64),
) -> FsResult<u64> {
    bytes.truncate(WRITE_MAX);
    let end = offset.saturating_add(bytes.len() as u64);
    let _reserved = reserve_growth(state, &fd, end).await?;
    view(state).write(fd, bytes, offset).await
}

async fn set_size(state: &mut GuestState, (fd, size): (Fd, u64)) -> FsResult<()> {
    let _reserved = reserve_growth(state, &fd, size).await?;
    view(state).set_size(fd, size).await
}

async fn open_at(
    state: &mut GuestState,
    (fd, path_flags, path, open_flags, flags): (Fd, PathFlags, String, OpenFlags, DescriptorFlags),
) -> FsResult<Fd> {
    let slots = state.files.admit()?;
    let quota = quota(state, &fd)?;
    let folder = || Fd::new_borrow(fd.rep());
    let mut _reserved = Reservation::default();
    if open_flags.contains(OpenFlags::CREATE) {
        let there = view(state)
            .stat_at(folder(), path_flags, path.clone())
            .await;
        if there.is_err() {
            _reserved = reserve_entry(state, &fd).await?;
        }
    }
    let opened = view(state)
        .open_at(folder(), path_flags, path, open_flags, flags)
        .await?;
    state.files.opened(state.table.get(&opened)?, slots, quota);
    Ok(opened)
}

fn read_stream(state: &mut GuestState, fd: Fd, offset: u64) -> FsResult<Resource<DynInputStream>> {
    let table = &state.table;
    let is_there = |rep| {
        table
            .get(&Resource::<DynInputStream>::new_borrow(rep))
            .is_ok()
    };
    state.files.inputs.admit(is_there)?;
    let stream = view(state).read_via_stream(fd, offset)?;
    state.files.inputs.note(stream.rep());
    Ok(stream)
}

/// Wraps wasmtime's stream in one that reserves space first.
fn stream(state: &mut GuestState, fd: &Fd, place: Place) -> FsResult<Resource<DynOutputStream>> {
    let table = &state.table;
    let is_there = |rep| {
        table
            .get(&Resource::<DynOutputStream>::new_borrow(rep))
            .is_ok()
    };
    state.files.outputs.admit(is_there)?;
    let borrowed = Fd::new_borrow(fd.rep());
    let stream = match place {
        Place::At(offset) => view(state).write_via_stream(borrowed, offset)?,
        Place::End => view(state).append_via_stream(borrowed)?,
    };
    let descriptor = state.table.get(fd)?;
    let (Some(quota), Descriptor::File(file)) = (state.files.quota(descriptor), descriptor) else {
        return Ok(stream);
    };
    let file = file.file.clone();
    let inner = state.table.delete(stream)?;
    let bounded: DynOutputStream = Box::new(WriteStream::new(inner, file, place, quota));
    let stream = state.table.push(bounded)?;
    state.files.outputs.note(stream.rep());
    Ok(stream)
}

async fn read_directory(state: &mut GuestState, fd: Fd) -> FsResult<Resource<ReaddirIterator>> {
    let entries = quota(state, &fd)?.map_or(0, |quota| quota.entries());
    let table = &state.table;
    let is_open = |rep: u32| {
        let stream = Resource::<ReaddirIterator>::new_borrow(rep);
        table.get(&stream).is_ok()
    };
    state.files.directories.forget(is_open);
    let token = state.files.directories.admit(entries)?;
    let stream = view(state).read_directory(fd).await?;
    state.files.directories.note(stream.rep(), token);
    Ok(stream)
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

impl From<AccessError> for wasmtime_wasi::p2::FsError {
    fn from(refused: AccessError) -> Self {
        ErrorCode::from(refused).into()
    }
}

impl From<AccessError> for io::Error {
    fn from(refused: AccessError) -> Self {
        use rustix::io::Errno;
        match refused {
            AccessError::Space => Errno::NOSPC,
            AccessError::Descriptors => Errno::NOMEM,
            AccessError::CrossDevice => Errno::XDEV,
        }
        .into()
    }
}
