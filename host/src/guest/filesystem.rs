//! `wasi:filesystem` with limits: writes are checked against the quota of their volume, and
//! open files are counted.
//!
//! wasmtime does the work. Functions that make a volume grow, or that create descriptors, are
//! replaced in the linker by functions that check first. As between mounts, nothing can be
//! moved or linked from one volume to another, because no quota would notice.

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
use super::{GuestSetup, WasiVersion};
use directories::DirectoryStreams;
use open_files::Slot;
use quota::Full;
use streams::{StreamResources, StreamTokens};

/// The largest write. The guest is told how much was written.
const WRITE_MAX: usize = 64 << 10;

/// The use of files by one instance.
pub(super) struct FileAccess {
    /// The quota of each mount, by its path in the guest.
    mounts: Vec<(String, Option<Arc<VolumeQuota>>)>,
    /// The quota of each open file, by the address of the file, which is unique as long as it
    /// is referenced here.
    accounts: HashMap<usize, (Weak<File>, Option<Arc<VolumeQuota>>)>,
    open: Arc<OpenFiles>,
    open_in_pod: Arc<OpenFiles>,
    directories: DirectoryStreams,
    inputs: StreamResources,
    outputs: StreamResources,
    writers: StreamTokens,
}

/// Why a file operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessError {
    /// There is no space in the volume, or on its file system.
    Space,
    /// Too many files are open.
    Descriptors,
    /// The operation moves or links between two volumes.
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

    /// Records the folder of a mount.
    fn mounted(&mut self, descriptor: &Descriptor, guest_path: &str) {
        let mount = self.mounts.iter().find(|(path, _)| path == guest_path);
        let quota = mount.and_then(|(_, quota)| quota.clone());
        self.note(file_of(descriptor), quota);
    }

    /// Places for one more open file: one of the instance and one of the pod.
    fn admit(&self) -> Result<[Slot; 2], AccessError> {
        let slots = (self.open.admit()).zip(self.open_in_pod.admit());
        slots.map(<[Slot; 2]>::from).ok_or(AccessError::Descriptors)
    }

    /// Records a file that was opened in the volume of `quota`.
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

    /// The quota of the volume that contains `descriptor`; `None` if it is read-only.
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

/// Replaces functions of wasmtime by those with limits.
pub(super) fn bound(
    linker: &mut Linker<GuestState>,
    wasi_version: WasiVersion,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::bound(linker)?;
    if wasi_version == WasiVersion::P3 {
        p3::bound(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
