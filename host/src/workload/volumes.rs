//! Volumes: folders of the host that a pod's container mounts, and its private root.
//!
//! Everything lies below the data folder. `volumes/NAMESPACE/` holds what outlives pods
//! (claims, hostPaths), out of reach of other namespaces. `pods/NAMESPACE_NAME/` holds
//! what is removed with its pod (the root, emptyDirs, and the files of ConfigMaps, Secrets
//! and the downward API). A guest sees only its mounts, and can write no more than what it
//! requested. Databases have the same paths below `databases/`, where no guest can
//! access their files.

mod atomic;
mod beneath;
mod bind;
mod eviction;
mod file_work;
mod files;
mod mounts;
mod pod_volumes;
mod quotas;
mod removal;
mod root;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use galleria_manifest::model::{FileVolume, VolumeMount};
use galleria_manifest::{Position, WithPosition};

use file_work::FileWork;
pub(crate) use pod_volumes::PodVolumes;
pub(crate) use quotas::Claims;
use quotas::Quotas;

/// The folder that contains all volumes (`--data DIR`).
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
    quotas: Arc<Quotas>,
    /// Writes the files that the host gives to pods.
    pub(super) files: FileWork,
    /// Measures and removes what guests wrote. Large volumes delay only each other.
    walks: FileWork,
}

/// A volume of a pod template that the host supports, with its mounts.
#[derive(Debug, Clone)]
pub(crate) struct BoundVolume {
    name: String,
    place: Place,
    read_only: bool,
    mounts: Vec<VolumeMount>,
    /// From `volumeClaimTemplates`: each pod has its own claim, named after it.
    is_per_pod: bool,
}

/// Where the data of a volume lives.
#[derive(Debug, Clone)]
enum Place {
    /// Below `DATA/volumes`, shared by every pod that refers to it.
    Shared {
        below: PathBuf,
        /// Whether the folder is created if it is missing.
        may_make: bool,
        /// Bytes that its claim requests.
        limit: Option<u64>,
    },
    /// Belongs to the pod, and is empty when the pod starts. `size_limit` is in bytes.
    Empty { size_limit: Option<u64> },
    /// Files that the host writes.
    Files(FileVolume),
}

/// Why a volume cannot be provided.
#[derive(Debug)]
pub(crate) struct VolumeError {
    pub at: Position,
    pub message: String,
}

impl VolumeError {
    fn new(at: &WithPosition<String>, message: String) -> Self {
        Self {
            at: at.at.clone(),
            message,
        }
    }
}

impl BoundVolume {
    /// Selects the claim of `pod`, if the volume is from `volumeClaimTemplates`.
    pub(crate) fn claim_for(&mut self, pod: &str) {
        if let (true, Place::Shared { below, .. }) = (self.is_per_pod, &mut self.place) {
            below.set_file_name(format!("{}-{pod}", self.name));
        }
    }
}

impl DataFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let quotas = Arc::new(Quotas::on(&path));
        Self {
            path,
            quotas,
            files: FileWork::default(),
            walks: FileWork::default(),
        }
    }

    fn shared(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// The size in bytes of the file system that volumes are on.
    pub(crate) fn capacity(&self) -> u64 {
        beneath::capacity(&self.path)
    }

    /// Removes what the pods of an earlier run of the host left behind.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(crate) fn remove_old_pods(&self) -> io::Result<()> {
        match removal::remove_all(&self.path.join("pods")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
