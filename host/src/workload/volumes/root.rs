//! The root of a container: a private, empty `/` below its mounts, as the writable layer of
//! a container is. It is emptied whenever the guest starts, and is removed with its pod.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_manifest::model::Container;

use super::mounts::cannot_write;
use super::{beneath, removal};
use crate::guest::{DiskFloor, Mount, VolumeQuota};
use crate::private_folder;

/// How much a root may contain if the container has no `limits.ephemeral-storage`. A cluster
/// has no such limit, but evicts pods when the disk of a node is full.
pub(super) const BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// Folders that images usually have, and that programs write to.
const FOLDERS: [&str; 2] = ["/tmp", "/data"];

/// The root of one container.
pub(super) struct Root {
    /// `DATA/pods/NAMESPACE_NAME/root`.
    folder: PathBuf,
    pub(super) quota: Arc<VolumeQuota>,
    working_dir: Option<String>,
}

impl Root {
    /// The root of `container`, whose pod has this folder; `None` if it is read-only, or if a
    /// volume is mounted in its place. `all` is the account of the pod.
    pub(super) fn of(
        container: &Container,
        pod: &Path,
        floor: &Arc<DiskFloor>,
        all: Option<&Arc<VolumeQuota>>,
    ) -> Option<Self> {
        let mut mounts = container.volume_mounts.iter();
        if container.read_only_root || mounts.any(|mount| *mount.mount_path == "/") {
            return None;
        }
        let folder = pod.join("root");
        let limit = if all.is_some() {
            u64::MAX
        } else {
            BYTES_MAX_DEFAULT
        };
        Some(Self {
            quota: VolumeQuota::new(&folder, limit, floor, all.cloned()),
            folder,
            working_dir: container.working_dir.clone(),
        })
    }

    /// The folder of everything in it, also of its databases.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of the guest.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Removes what an earlier guest wrote. Its databases must be closed.
    pub(super) fn empty(&self) -> io::Result<()> {
        self.quota.forgive();
        match removal::remove_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates the folders of a new guest, also those where `mounts` are mounted, so that
    /// they can be listed. Returns the mount of the root.
    ///
    /// # Errors
    /// A folder cannot be created.
    pub(super) fn prepare(&self, mounts: &[Mount]) -> Result<Mount, String> {
        let files = self.files();
        let databases = self.folder.join("databases");
        let create = |path: &Path| {
            private_folder::create(path)
                .and_then(|()| std::fs::canonicalize(path))
                .map_err(|error| cannot_write(path, &error))
        };
        let files = create(&files)?;
        let points = mounts.iter().map(|mount| mount.guest_path.as_str());
        let folders = FOLDERS.into_iter().chain(self.working_dir.as_deref());
        for folder in folders.chain(points) {
            let below = Path::new(folder.trim_start_matches('/'));
            // A single file may be mounted here.
            if std::fs::symlink_metadata(files.join(below)).is_ok_and(|it| it.is_file()) {
                continue;
            }
            beneath::open(&files, below, true)
                .map_err(|error| format!("cannot create `{folder}` in the root: {error}"))?;
        }
        let opened = beneath::open(&files, Path::new(""), false)
            .map_err(|error| cannot_write(&files, &error))?;
        Ok(Mount {
            databases: Some(create(&databases)?),
            host_path: files.clone(),
            volume: files,
            opened: Some(Arc::new(opened)),
            guest_path: "/".to_owned(),
            read_only: false,
            quota: Some(self.quota.clone()),
        })
    }
}
