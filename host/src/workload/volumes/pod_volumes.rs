//! The volumes of one pod: its mounts, and the files that the host writes into them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_manifest::model::{Container, FileSource, FileVolume};
use parking_lot::Mutex;

use super::atomic::{self, Payload};
use super::file_work::FileWork;
use super::mounts::{Folder, Mounts, cannot_write};
use super::quotas::Quotas;
use super::root::Root;
use super::{BoundVolume, DataFolder, Place, files, removal};
use crate::guest::{Databases, Mount, VolumeQuota};
use crate::private_folder;
use crate::workload::configuration::Configuration;
use crate::workload::field::PodFacts;

/// The volumes of one pod, from its start until it is removed.
pub(crate) struct PodVolumes {
    /// `DATA/pods/NAMESPACE_NAME`.
    pub(super) folder: PathBuf,
    /// `DATA/volumes`.
    shared: PathBuf,
    bound: Vec<BoundVolume>,
    quotas: Arc<Quotas>,
    pub(super) walks: FileWork,
    /// The accounts of emptyDirs, by volume name.
    pub(super) empty: BTreeMap<String, Arc<VolumeQuota>>,
    /// `None` if the container has no root of its own.
    root: Option<Root>,
    /// The account of the root and all emptyDirs together (`limits.ephemeral-storage`).
    pub(super) all_empty: Option<Arc<VolumeQuota>>,
    /// The files that were written last, by volume name.
    written: Mutex<BTreeMap<String, Payload>>,
}

impl DataFolder {
    /// The volumes of a new pod. Writes nothing yet.
    pub(crate) fn of_pod(
        &self,
        namespace: &str,
        pod: &str,
        container: &Container,
        bound: &[BoundVolume],
    ) -> Arc<PodVolumes> {
        // Pods of different namespaces may have the same name. No name contains `_`.
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
        let empty = empty.collect();
        Arc::new(PodVolumes {
            empty,
            root: Root::of(container, &folder, floor, all_empty.as_ref()),
            all_empty,
            folder,
            shared: self.shared(),
            bound: bound.to_vec(),
            quotas: self.quotas.clone(),
            walks: self.walks.clone(),
            written: Mutex::default(),
        })
    }
}

impl PodVolumes {
    /// Makes every volume ready for a start of the guest.
    ///
    /// # Errors
    /// What is missing or cannot be written, without any values.
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
            root: self.root.as_ref().map(Root::files),
            files: BTreeMap::new(),
            made: Vec::new(),
        };
        for bound in &self.bound {
            self.mount(bound, &mut mounts)?;
        }
        let mut mounts = mounts.finish()?;
        if let Some(root) = &self.root {
            let root = root.prepare(&mounts)?;
            // The last, since some programs use the first of their mounts.
            mounts.push(root);
        }
        Ok(mounts)
    }

    /// Empties the root for a new start of the guest, after closing the databases in it.
    pub(crate) async fn empty_root(self: &Arc<Self>, databases: &Databases) {
        let Some(root) = &self.root else {
            return;
        };
        databases.close_below(root.folder()).await;
        let volumes = self.clone();
        let emptied = self.walks.run(move || match &volumes.root {
            Some(root) => root.empty(),
            None => Ok(()),
        });
        if let Ok(Err(error)) = emptied.await {
            let folder = root.folder().display();
            tracing::warn!(%folder, %error, "cannot empty the root of a container");
        }
    }

    /// Adds every mount of the volume `bound`.
    fn mount(&self, bound: &BoundVolume, mounts: &mut Mounts<'_>) -> Result<(), String> {
        match &bound.place {
            Place::Shared {
                below,
                may_make,
                limit,
            } => {
                // One account for a claim, including the folders in it.
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
                bound
                    .mounts
                    .iter()
                    .try_for_each(|mount| mounts.add_folder(&folder, mount))
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
                bound
                    .mounts
                    .iter()
                    .try_for_each(|mount| mounts.add_folder(&folder, mount))
            }
            Place::Files(files) => {
                let folder = self.volume(&bound.name);
                let written = self.written.lock();
                let none = Payload::new();
                let payload = written.get(&bound.name).unwrap_or(&none);
                let mut volume_mounts = bound.mounts.iter();
                volume_mounts.try_for_each(|mount| {
                    mounts.add_files(&folder, payload, may_lack(files), mount)
                })
            }
        }
    }

    /// Writes the files that differ from what was written last. The files of a volume
    /// change atomically. Returns the names of the volumes that changed.
    ///
    /// # Errors
    /// As [`PodVolumes::prepare`]; the volume keeps its previous files.
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

    /// Removes everything that belongs to this pod alone, after closing the databases in
    /// it.
    pub(crate) async fn remove(self: &Arc<Self>, databases: &Databases) {
        databases.close_below(&self.folder).await;
        let volumes = self.clone();
        let removed = self.walks.run(move || {
            let mut written = volumes.written.lock();
            written.clear();
            let root = volumes.root.as_ref().map(|root| &root.quota);
            let quotas = volumes.empty.values().chain(&volumes.all_empty);
            for quota in quotas.chain(root) {
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

    /// The databases of an emptyDir, which its guest can access by SQL only.
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

/// Whether a file that is mounted with `subPath` may be missing.
fn may_lack(volume: &FileVolume) -> bool {
    volume.sources.iter().any(|source| match source {
        FileSource::ConfigMap(keys) | FileSource::Secret(keys) => keys.optional,
        FileSource::DownwardApi(_) => false,
    })
}

fn make_folder(folder: &Path) -> Result<(), String> {
    private_folder::create(folder).map_err(|error| cannot_write(folder, &error))
}
