//! `wasi:filesystem` within bounds: what a guest writes is asked of its volume's
//! account first, and what it holds open is counted.
//!
//! wasmtime does the work. Functions by which volumes grow, or descriptors come
//! to be, are replaced in the linker by ones that ask first and call it then.
//! Volumes stay apart, as mounts do: nothing is moved or linked from one into
//! another, which no account would see.

mod directories;
mod floor;
mod open_files;
mod p2;
mod p3;
mod quota;
mod streams;
mod usage;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};

use wasmtime::component::Linker;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView};

pub(crate) use floor::DiskFloor;
pub(crate) use open_files::OpenFiles;
pub(crate) use quota::VolumeQuota;

use super::state::GuestState;
use super::{Generation, GuestSetup};
use directories::DirectoryStreams;
use open_files::Slot;
use quota::Full;
use streams::{StreamResources, StreamTokens};

/// The most that one write takes; a guest is told how much was written.
const WRITE_MAX: usize = 64 << 10;

/// What one instance does with files.
pub(super) struct FileAccess {
    /// The account of each mount, by where the guest sees it.
    mounts: Vec<(String, Option<Arc<VolumeQuota>>)>,
    /// The account of each open file, by its address, which is its own as long
    /// as it is referred to from here.
    accounts: HashMap<usize, (Weak<File>, Option<Arc<VolumeQuota>>)>,
    open: Arc<OpenFiles>,
    open_in_pod: Arc<OpenFiles>,
    directories: DirectoryStreams,
    inputs: StreamResources,
    outputs: StreamResources,
    writers: StreamTokens,
}

/// Why a guest does not get what it wants of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessError {
    /// No room in the volume, or on its file system.
    Space,
    /// Too much is open.
    Descriptors,
    /// From one volume to another.
    CrossDevice,
}

impl From<Full> for AccessError {
    fn from(_: Full) -> Self {
        Self::Space
    }
}

impl FileAccess {
    pub(super) fn new(setup: &GuestSetup) -> Self {
        let mounts = setup.mounts.iter();
        let mounts = mounts.map(|mount| (mount.guest_path.clone(), mount.quota.clone()));
        Self {
            mounts: mounts.collect(),
            accounts: HashMap::new(),
            open: OpenFiles::of_instance(),
            open_in_pod: setup.open_files.clone(),
            directories: DirectoryStreams::default(),
            inputs: StreamResources::default(),
            outputs: StreamResources::default(),
            writers: StreamTokens::default(),
        }
    }

    /// Notes the folder of a mount that the guest got.
    fn mounted(&mut self, descriptor: &Descriptor, guest_path: &str) {
        let mount = self.mounts.iter().find(|(path, _)| path == guest_path);
        let quota = mount.and_then(|(_, quota)| quota.clone());
        self.note(file_of(descriptor), quota);
    }

    /// Places for one more open file.
    fn admit(&self) -> Result<[Slot; 2], AccessError> {
        let slots = (self.open.admit()).zip(self.open_in_pod.admit());
        slots.map(<[Slot; 2]>::from).ok_or(AccessError::Descriptors)
    }

    /// Notes what was opened in the volume of `quota`.
    fn opened(
        &mut self,
        descriptor: &Descriptor,
        slots: [Slot; 2],
        quota: Option<Arc<VolumeQuota>>,
    ) {
        let file = file_of(descriptor);
        for slot in slots {
            slot.fill(file);
        }
        if let (Some(quota), Descriptor::File(_)) = (&quota, descriptor) {
            quota.opened(file);
        }
        self.note(file, quota);
    }

    fn note(&mut self, file: &Arc<File>, quota: Option<Arc<VolumeQuota>>) {
        if self.accounts.len() == self.accounts.capacity() {
            self.accounts.retain(|_, (file, _)| file.strong_count() > 0);
        }
        let key = Arc::as_ptr(file).addr();
        self.accounts.insert(key, (Arc::downgrade(file), quota));
    }

    /// The account of the volume that `descriptor` is in; none where nothing is
    /// written.
    fn quota(&self, descriptor: &Descriptor) -> Option<Arc<VolumeQuota>> {
        let key = Arc::as_ptr(file_of(descriptor)).addr();
        self.accounts.get(&key)?.1.clone()
    }

    /// # Errors
    /// The two are in different volumes.
    fn same_volume(&self, from: &Descriptor, to: &Descriptor) -> Result<(), AccessError> {
        let is_same = match (self.quota(from), self.quota(to)) {
            (Some(from), Some(to)) => Arc::ptr_eq(&from, &to),
            (None, None) => true,
            _ => false,
        };
        is_same.then_some(()).ok_or(AccessError::CrossDevice)
    }
}

fn file_of(descriptor: &Descriptor) -> &Arc<File> {
    match descriptor {
        Descriptor::File(file) => &file.file,
        Descriptor::Dir(folder) => &folder.dir,
    }
}

fn view(state: &mut GuestState) -> WasiFilesystemCtxView<'_> {
    state.filesystem()
}

/// Puts the bounded functions in the place of wasmtime's.
pub(super) fn bound(
    linker: &mut Linker<GuestState>,
    generation: Generation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::bound(linker)?;
    if generation == Generation::P3 {
        p3::bound(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
