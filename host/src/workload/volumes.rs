//! Volumes: folders of the host that a pod's container mounts.
//!
//! Everything lies below the data folder. `volumes/` holds what outlives pods
//! (claims, hostPaths), `pods/NAME/` what goes with its pod (emptyDirs, and the
//! files of ConfigMaps, Secrets and the downward API). A guest sees its mounts
//! and nothing else.

mod atomic;
mod beneath;
mod files;
mod mounts;
mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use galleria_manifest::Position;
use galleria_manifest::model::{
    Container, FileSource, FileVolume, PodSpec, VolumeMount, VolumeSource,
};

use super::configuration::Configuration;
use super::field::PodFacts;
use crate::guest::{Databases, Mount, create_private_folder};
use atomic::Payload;
use mounts::{Mounts, cannot_write};

/// How often emptyDirs are measured. A pod can write over its limit for so long;
/// the kubelet takes ten seconds.
const MEASURE: Duration = Duration::from_secs(1);

/// Where volumes live (`--data DIR`).
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

/// A volume that can be served, with the places where it is mounted.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    name: String,
    place: Place,
    read_only: bool,
    mounts: Vec<VolumeMount>,
    /// Made for each pod by name, as `volumeClaimTemplates` say.
    is_per_pod: bool,
}

#[derive(Debug, Clone)]
enum Place {
    /// Below `DATA/volumes`, shared by every pod that names it.
    Shared { below: PathBuf, may_make: bool },
    /// The pod's own, empty at its start; bytes it may hold.
    Empty { size_limit: Option<u64> },
    /// Written by the host.
    Files(FileVolume),
}

/// A volume that cannot be served.
#[derive(Debug)]
pub(crate) struct VolumeError {
    pub at: Position,
    pub message: String,
}

/// The volumes of one pod, from its start to its end.
pub(crate) struct PodVolumes {
    /// `DATA/pods/NAME`.
    folder: PathBuf,
    /// `DATA/volumes`.
    shared: PathBuf,
    bound: Vec<Bound>,
    /// `limits.ephemeral-storage`: bytes of all emptyDirs together.
    storage_limit: Option<u64>,
    /// What was written last, by volume.
    written: Mutex<BTreeMap<String, Payload>>,
}

impl Bound {
    /// Turns what `volumeClaimTemplates` say into the claim of `pod`.
    pub(crate) fn claim_for(&mut self, pod: &str) {
        if let (true, Place::Shared { below, .. }) = (self.is_per_pod, &mut self.place) {
            below.set_file_name(format!("{}-{pod}", self.name));
        }
    }
}

impl DataFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn shared(&self) -> PathBuf {
        self.0.join("volumes")
    }

    /// Bytes of the file system that volumes are on.
    pub(crate) fn capacity(&self) -> u64 {
        beneath::capacity(&self.0)
    }

    /// Removes what the pods of an earlier run left behind.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(crate) fn remove_old_pods(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.0.join("pods")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Finds every volume that `container` mounts, and makes the folders of claims.
    ///
    /// # Errors
    /// A kind of volume that is not served, a hostPath elsewhere, a key that is
    /// missing, or a folder that cannot be made.
    pub(crate) fn bind(
        &self,
        namespace: &str,
        pod: &PodSpec,
        container: &Container,
        configuration: &Configuration,
        facts: &PodFacts<'_>,
    ) -> Result<Vec<Bound>, Vec<VolumeError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        for volume in &pod.volumes {
            let is_it = |mount: &&VolumeMount| mount.name == volume.name;
            let mounts: Vec<_> = container
                .volume_mounts
                .iter()
                .filter(is_it)
                .cloned()
                .collect();
            if mounts.is_empty() {
                continue;
            }
            let mut read_only = false;
            let place = match &volume.source {
                VolumeSource::PersistentVolumeClaim {
                    claim_name,
                    read_only: claimed_read_only,
                } => {
                    read_only = *claimed_read_only;
                    self.claim(namespace, claim_name)
                }
                VolumeSource::ClaimTemplate => self.claim_template(namespace, &volume.name),
                VolumeSource::HostPath { path, must_exist } => self.host_path(path, *must_exist),
                VolumeSource::EmptyDir { size_limit } => Ok(Place::Empty {
                    size_limit: *size_limit,
                }),
                VolumeSource::Files(source) => match files::payload(source, configuration, facts) {
                    Ok(_) => Ok(Place::Files(source.clone())),
                    Err(found) => {
                        errors.extend(found);
                        continue;
                    }
                },
                VolumeSource::Other(kind) => Err(format!(
                    "volume `{}` is {kind}, which this host does not serve; use a persistentVolumeClaim",
                    volume.name
                )),
            };
            match place {
                Ok(place) => bound.push(Bound {
                    name: volume.name.value.clone(),
                    place,
                    read_only,
                    mounts,
                    is_per_pod: matches!(volume.source, VolumeSource::ClaimTemplate),
                }),
                Err(message) => errors.push(VolumeError {
                    at: volume.name.at.clone(),
                    message,
                }),
            }
        }
        if errors.is_empty() {
            Ok(bound)
        } else {
            Err(errors)
        }
    }

    fn claim(&self, namespace: &str, claim: &str) -> Result<Place, String> {
        let below = Path::new(namespace).join(claim);
        self.make(&below)
            .map_err(|error| format!("the folder of claim `{claim}` {error}"))?;
        Ok(Place::Shared {
            below,
            may_make: true,
        })
    }

    /// Where the claims of pods will be; each is made with its pod.
    fn claim_template(&self, namespace: &str, claim: &str) -> Result<Place, String> {
        let namespace = Path::new(namespace);
        self.make(namespace)
            .map_err(|error| format!("the folder of claims {error}"))?;
        Ok(Place::Shared {
            below: namespace.join(claim),
            may_make: true,
        })
    }

    fn host_path(&self, path: &str, must_exist: bool) -> Result<Place, String> {
        let shared = std::path::absolute(self.shared()).unwrap_or_else(|_| self.shared());
        let below = match Path::new(path).strip_prefix(&shared) {
            Ok(below) if below.components().next().is_some() => below.to_path_buf(),
            _ => {
                return Err(format!(
                    "hostPath `{path}` lies outside of `{}`, and pods reach no other folder of the \
                     machine; use a persistentVolumeClaim, or a path below it",
                    shared.display()
                ));
            }
        };
        self.make(Path::new(""))
            .map_err(|error| format!("the folder of volumes {error}"))?;
        if let Err(error) = beneath::open(&self.shared(), &below, !must_exist) {
            return Err(format!(
                "hostPath `{path}` cannot be opened: {error}; make the folder, or use `type: \
                 DirectoryOrCreate`"
            ));
        }
        Ok(Place::Shared {
            below,
            may_make: !must_exist,
        })
    }

    fn make(&self, below: &Path) -> Result<(), String> {
        let folder = self.shared().join(below);
        fs::create_dir_all(&folder).map_err(|error| {
            let path = folder.display();
            format!("`{path}` cannot be made: {error}; choose another with --data")
        })
    }

    /// The volumes of a new pod; nothing is written yet.
    pub(crate) fn of_pod(
        &self,
        pod: &str,
        container: &Container,
        bound: &[Bound],
    ) -> Arc<PodVolumes> {
        Arc::new(PodVolumes {
            folder: self.0.join("pods").join(pod),
            shared: self.shared(),
            bound: bound.to_vec(),
            storage_limit: container.resources.limits.ephemeral_storage,
            written: Mutex::default(),
        })
    }
}

impl PodVolumes {
    /// Makes every volume ready for a start of the guest.
    ///
    /// # Errors
    /// What is missing or cannot be written; without values.
    pub(crate) fn prepare(
        &self,
        configuration: &Configuration,
        facts: &PodFacts<'_>,
        environment: &[(String, String)],
    ) -> Result<Vec<Mount>, String> {
        self.refresh(configuration, facts)?;
        let mut mounts = Mounts {
            pod: self,
            environment,
            files: BTreeMap::new(),
            made: Vec::new(),
        };
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for bound in &self.bound {
            for mount in &bound.mounts {
                match &bound.place {
                    Place::Shared { below, may_make } => {
                        mounts.add_folder(
                            &self.shared,
                            below,
                            *may_make,
                            bound.read_only,
                            mount,
                        )?;
                    }
                    Place::Empty { .. } => {
                        let root = self.volume(&bound.name);
                        make_folder(&root)?;
                        mounts.add_folder(&root, Path::new(""), true, false, mount)?;
                    }
                    Place::Files(files) => {
                        let payload = written.get(&bound.name);
                        let none = Payload::new();
                        mounts.add_files(
                            &self.volume(&bound.name),
                            payload.unwrap_or(&none),
                            may_lack(files),
                            mount,
                        )?;
                    }
                }
            }
        }
        mounts.finish()
    }

    /// Writes the files that differ from what was written last, each volume at once.
    /// Tells the volumes that changed.
    ///
    /// # Errors
    /// As [`PodVolumes::prepare`]; the volume keeps its old files.
    pub(crate) fn refresh(
        &self,
        configuration: &Configuration,
        facts: &PodFacts<'_>,
    ) -> Result<Vec<String>, String> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        for bound in &self.bound {
            let Place::Files(source) = &bound.place else {
                continue;
            };
            let payload = files::payload(source, configuration, facts).map_err(|errors| {
                let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
                messages.join("; ")
            })?;
            if written.get(&bound.name) == Some(&payload) {
                continue;
            }
            let folder = self.volume(&bound.name);
            make_folder(&folder)?;
            atomic::replace(&folder, &payload).map_err(|error| cannot_write(&folder, &error))?;
            written.insert(bound.name.clone(), payload);
            changed.push(bound.name.clone());
        }
        Ok(changed)
    }

    /// Waits until the pod has written more than it may, and says so as the
    /// kubelet does when it evicts a pod.
    pub(crate) async fn until_over_limit(self: &Arc<Self>) -> String {
        if !self.is_limited() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(MEASURE).await;
            let volumes = self.clone();
            let measured = tokio::task::spawn_blocking(move || volumes.over_limit());
            if let Ok(Some(message)) = measured.await {
                return message;
            }
        }
    }

    /// Whether anything limits what the pod writes.
    fn is_limited(&self) -> bool {
        self.bound.iter().any(|bound| match bound.place {
            Place::Empty { size_limit } => size_limit.is_some() || self.storage_limit.is_some(),
            _ => false,
        })
    }

    fn over_limit(&self) -> Option<String> {
        let mut total = 0_u64;
        for bound in &self.bound {
            let Place::Empty { size_limit } = bound.place else {
                continue;
            };
            let used = usage::bytes(&self.volume(&bound.name));
            total = total.saturating_add(used);
            if let Some(limit) = size_limit.filter(|limit| used > *limit) {
                return Some(format!(
                    "usage of emptyDir volume `{}` exceeds its sizeLimit of {limit} bytes",
                    bound.name
                ));
            }
        }
        let limit = self.storage_limit.filter(|limit| total > *limit)?;
        Some(format!(
            "usage of the pod's emptyDir volumes exceeds limits.ephemeral-storage of {limit} bytes"
        ))
    }

    /// Removes everything that is this pod's alone, and closes the databases
    /// among it.
    pub(crate) async fn remove(self: &Arc<Self>, databases: &Databases) {
        databases.close_below(&self.folder).await;
        let volumes = self.clone();
        let removed = tokio::task::spawn_blocking(move || {
            let mut written = volumes
                .written
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            written.clear();
            fs::remove_dir_all(&volumes.folder)
        });
        if let Ok(Err(error)) = removed.await
            && error.kind() != io::ErrorKind::NotFound
        {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the files of a pod that ended cannot be removed");
        }
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.folder.join("volumes").join(name)
    }
}

/// Whether a file that is mounted by itself may be missing.
fn may_lack(volume: &FileVolume) -> bool {
    volume.sources.iter().any(|source| match source {
        FileSource::ConfigMap(keys) | FileSource::Secret(keys) => keys.optional,
        FileSource::DownwardApi(_) => false,
    })
}

fn make_folder(folder: &Path) -> Result<(), String> {
    create_private_folder(folder).map_err(|error| cannot_write(folder, &error))
}
