//! Volumes: folders of the host that a pod's container mounts.
//!
//! Everything lies below the data folder. `volumes/NAMESPACE/` holds what outlives
//! pods (claims, hostPaths) and is out of reach of other namespaces,
//! `pods/NAMESPACE_NAME/` what goes with its pod (emptyDirs, and the
//! files of ConfigMaps, Secrets and the downward API). A guest sees its mounts
//! and nothing else, and no more fits in than what it asked for. Databases lie beside,
//! on the same paths below `databases/`, where no guest sees their files.

mod atomic;
mod beneath;
mod files;
mod mounts;
mod quotas;
mod removal;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::Position;
use galleria_manifest::model::{
    Container, FileSource, FileVolume, PodSpec, VolumeMount, VolumeSource,
};
use parking_lot::Mutex;

use super::configuration::Configuration;
use super::field::PodFacts;
use crate::guest::{Databases, Mount, VolumeQuota};
use crate::private_folder;
use atomic::Payload;
use mounts::{Folder, Mounts, cannot_write};
pub(crate) use quotas::Claims;
use quotas::Quotas;

/// How often it is looked whether a pod wanted to write over the limit of its
/// emptyDirs, to evict it; the kubelet takes ten seconds.
const MEASURE: Duration = Duration::from_secs(1);

/// Where volumes live (`--data DIR`).
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    path: PathBuf,
    quotas: Arc<Quotas>,
}

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
    Shared {
        below: PathBuf,
        may_make: bool,
        /// Bytes that its claim asks for.
        limit: Option<u64>,
    },
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
    /// `DATA/pods/NAMESPACE_NAME`.
    folder: PathBuf,
    /// `DATA/volumes`.
    shared: PathBuf,
    bound: Vec<Bound>,
    quotas: Arc<Quotas>,
    /// The accounts of emptyDirs, by volume.
    empty: BTreeMap<String, Arc<VolumeQuota>>,
    /// `limits.ephemeral-storage`: of all emptyDirs together.
    all_empty: Option<Arc<VolumeQuota>>,
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
        let path = path.into();
        let quotas = Arc::new(Quotas::on(&path));
        Self { path, quotas }
    }

    fn shared(&self) -> PathBuf {
        self.path.join("volumes")
    }

    /// Bytes of the file system that volumes are on.
    pub(crate) fn capacity(&self) -> u64 {
        beneath::capacity(&self.path)
    }

    /// Removes what the pods of an earlier run left behind.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(crate) fn remove_old_pods(&self) -> io::Result<()> {
        match removal::remove_all(&self.path.join("pods")) {
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
        claims: Claims<'_>,
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
                    self.claim(namespace, claim_name, claims.size(namespace, claim_name))
                }
                VolumeSource::ClaimTemplate => {
                    let limit = claims.size_of_template(&volume.name);
                    self.claim_template(namespace, &volume.name, limit)
                }
                VolumeSource::HostPath { path, must_exist } => {
                    self.host_path(namespace, path, *must_exist, claims)
                }
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
                    "volume `{}` is {kind}, which this host does not support; use a persistentVolumeClaim",
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

    fn claim(&self, namespace: &str, claim: &str, limit: Option<u64>) -> Result<Place, String> {
        let below = Path::new(namespace).join(claim);
        self.make(&below)
            .map_err(|error| format!("the folder of claim `{claim}` {error}"))?;
        Ok(Place::Shared {
            below,
            may_make: true,
            limit,
        })
    }

    /// Where the claims of pods will be; each is made with its pod.
    fn claim_template(
        &self,
        namespace: &str,
        claim: &str,
        limit: Option<u64>,
    ) -> Result<Place, String> {
        let namespace = Path::new(namespace);
        self.make(namespace)
            .map_err(|error| format!("the folder of claims {error}"))?;
        Ok(Place::Shared {
            below: namespace.join(claim),
            may_make: true,
            limit,
        })
    }

    /// A folder of the namespace's own part. What is not the namespace's is not
    /// told apart: neither whether it exists, nor whose it is.
    fn host_path(
        &self,
        namespace: &str,
        path: &str,
        must_exist: bool,
        claims: Claims<'_>,
    ) -> Result<Place, String> {
        let shared = std::path::absolute(self.shared()).unwrap_or_else(|_| self.shared());
        let own = shared.join(namespace);
        let inner = Path::new(path).strip_prefix(&own);
        let inner = inner.unwrap_or(Path::new(""));
        let Some(volume) = volume_of(inner) else {
            return Err(format!(
                "hostPath `{path}` is outside of `{}`, the folder of namespace `{namespace}`, and \
                 pods can access no other folder of the machine; use a persistentVolumeClaim, or \
                 move the data there and use a path without `..`",
                own.display()
            ));
        };
        let below = Path::new(namespace).join(inner);
        self.make(Path::new(namespace))
            .map_err(|error| format!("the folder of volumes {error}"))?;
        if let Err(error) = beneath::open(&self.shared(), &below, !must_exist) {
            return Err(format!(
                "cannot open hostPath `{path}`: {error}; create the folder, or use `type: \
                 DirectoryOrCreate`"
            ));
        }
        Ok(Place::Shared {
            below,
            may_make: !must_exist,
            limit: claims.size(namespace, volume),
        })
    }

    fn make(&self, below: &Path) -> Result<(), String> {
        let folder = self.shared().join(below);
        let made = private_folder::create(&self.shared())
            .and_then(|()| beneath::open(&self.shared(), below, true));
        made.map(drop).map_err(|error| {
            let path = folder.display();
            format!("cannot create `{path}`: {error}; choose another with --data")
        })
    }

    /// The volumes of a new pod; nothing is written yet.
    pub(crate) fn of_pod(
        &self,
        namespace: &str,
        pod: &str,
        container: &Container,
        bound: &[Bound],
    ) -> Arc<PodVolumes> {
        // Pods of two namespaces may have one name, and no name has this sign.
        let folder = self.path.join("pods").join(format!("{namespace}_{pod}"));
        let floor = self.quotas.floor();
        let storage_limit = container.resources.limits.ephemeral_storage;
        let all_empty = storage_limit.map(|limit| VolumeQuota::over_all(limit, floor));
        let empty = bound.iter().filter_map(|bound| {
            let Place::Empty { size_limit } = bound.place else {
                return None;
            };
            let folder = volume_in(&folder, &bound.name);
            let limit = size_limit.unwrap_or(u64::MAX);
            let quota = VolumeQuota::new(&folder, limit, floor, all_empty.clone());
            Some((bound.name.clone(), quota))
        });
        Arc::new(PodVolumes {
            empty: empty.collect(),
            all_empty,
            folder,
            shared: self.shared(),
            bound: bound.to_vec(),
            quotas: self.quotas.clone(),
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
        let written = self.written.lock();
        for bound in &self.bound {
            for mount in &bound.mounts {
                match &bound.place {
                    Place::Shared {
                        below,
                        may_make,
                        limit,
                    } => {
                        // One account for a claim, and for folders in it.
                        let account: PathBuf = below.components().take(2).collect();
                        let quota = self.quotas.of(&self.shared.join(&account), *limit);
                        let databases = self.shared.with_file_name("databases");
                        quota.also_counts(&databases.join(account));
                        let folder = Folder {
                            root: &self.shared,
                            below,
                            databases: &databases,
                            quota: &quota,
                            may_make: *may_make,
                            read_only: bound.read_only,
                        };
                        mounts.add_folder(&folder, mount)?;
                    }
                    Place::Empty { .. } => {
                        let root = self.volume(&bound.name);
                        make_folder(&root)?;
                        let databases = self.databases(&bound.name);
                        let quota = self.empty.get(&bound.name).ok_or("no account")?;
                        quota.also_counts(&databases);
                        let folder = Folder {
                            root: &root,
                            below: Path::new(""),
                            databases: &databases,
                            quota,
                            may_make: true,
                            read_only: false,
                        };
                        mounts.add_folder(&folder, mount)?;
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
        let mut written = self.written.lock();
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
        let is_limited = |quota: &Arc<VolumeQuota>| quota.limit() < u64::MAX;
        self.all_empty.is_some() || self.empty.values().any(is_limited)
    }

    fn over_limit(&self) -> Option<String> {
        let is_over = |quota: &VolumeQuota| {
            quota.limit() < u64::MAX && {
                quota.measure();
                quota.was_exceeded()
            }
        };
        for (name, quota) in &self.empty {
            if is_over(quota) {
                return Some(format!(
                    "usage of emptyDir volume `{name}` exceeds its sizeLimit of {} bytes",
                    quota.limit()
                ));
            }
        }
        let all = self.all_empty.as_ref().filter(|all| is_over(all))?;
        Some(format!(
            "usage of the pod's emptyDir volumes exceeds limits.ephemeral-storage of {} bytes",
            all.limit()
        ))
    }

    /// Removes everything that is this pod's alone, and closes the databases
    /// among it.
    pub(crate) async fn remove(self: &Arc<Self>, databases: &Databases) {
        databases.close_below(&self.folder).await;
        let volumes = self.clone();
        let removed = tokio::task::spawn_blocking(move || {
            let mut written = volumes.written.lock();
            written.clear();
            for quota in volumes.empty.values().chain(&volumes.all_empty) {
                quota.forgive();
            }
            removal::remove_all(&volumes.folder)
        });
        if let Ok(Err(error)) = removed.await
            && error.kind() != io::ErrorKind::NotFound
        {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "cannot remove the files of a terminated pod");
        }
    }

    /// The databases of an emptyDir, which its guest reaches by SQL alone.
    fn databases(&self, name: &str) -> PathBuf {
        self.folder.join("databases").join(name)
    }

    fn volume(&self, name: &str) -> PathBuf {
        volume_in(&self.folder, name)
    }
}

fn volume_in(pod: &Path, name: &str) -> PathBuf {
    pod.join("volumes").join(name)
}

/// The first part of a path below a namespace's folder, if it leads nowhere
/// else. Names that begin with a dot are the host's own.
fn volume_of(inner: &Path) -> Option<&str> {
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    let name = inner.components().next()?.as_os_str().to_str()?;
    (inner.components().all(is_name) && !name.starts_with('.')).then_some(name)
}

/// Whether a file that is mounted by itself may be missing.
fn may_lack(volume: &FileVolume) -> bool {
    volume.sources.iter().any(|source| match source {
        FileSource::ConfigMap(keys) | FileSource::Secret(keys) => keys.optional,
        FileSource::DownwardApi(_) => false,
    })
}

fn make_folder(folder: &Path) -> Result<(), String> {
    private_folder::create(folder).map_err(|error| cannot_write(folder, &error))
}
