//! The mounts of a pod's volumes in its guest.
//!
//! A component can mount folders only. A single file (`subPath` of a configMap or secret)
//! is therefore copied to a folder of its own, which is mounted in place of the file's
//! parent folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_manifest::model::{SubPath, VolumeMount};

use super::atomic::{self, Payload};
use super::{PodVolumes, beneath};
use crate::guest::{Mount, VolumeQuota};
use crate::private_folder;
use crate::workload::environment::{expand, lookup};

/// The mounts of one start of a pod's guest.
pub(super) struct Mounts<'a> {
    pub(super) pod: &'a PodVolumes,
    pub(super) environment: &'a [(String, String)],
    /// The folder of the container's root.
    pub(super) root: Option<PathBuf>,
    /// The folders of single files, by mount path.
    pub(super) files: BTreeMap<String, PathBuf>,
    pub(super) made: Vec<Mount>,
}

/// A folder that guests write: a claim, a hostPath, an emptyDir.
pub(super) struct Folder<'a> {
    pub(super) root: &'a Path,
    /// Below `root`.
    pub(super) below: &'a Path,
    /// The folder of its databases, which have the same paths.
    pub(super) databases: &'a Path,
    pub(super) quota: &'a Arc<VolumeQuota>,
    /// Whether `below` is created if it is missing.
    pub(super) may_make: bool,
    pub(super) read_only: bool,
}

impl Mounts<'_> {
    /// Adds a volume whose files the host writes. Guests can only read it.
    pub(super) fn add_files(
        &mut self,
        folder: &Path,
        payload: &Payload,
        may_lack: bool,
        mount: &VolumeMount,
    ) -> Result<(), String> {
        let Some(sub_path) = self.sub_path(mount)? else {
            self.made.push(Mount::new(folder, &mount.mount_path, true));
            return Ok(());
        };
        if let Some(file) = payload.get(&sub_path) {
            return self.add_file(mount, file);
        }
        let below: Payload = payload
            .iter()
            .filter_map(|(path, file)| {
                let path = path.strip_prefix(&sub_path)?.strip_prefix('/')?;
                Some((path.to_owned(), file.clone()))
            })
            .collect();
        if below.is_empty() && !may_lack {
            return Err(format!(
                "volume `{}` has no file `{sub_path}`; name one of its keys in subPath",
                mount.name
            ));
        }
        let copy = self.folder("paths", self.made.len())?;
        atomic::write(&copy, &below).map_err(|error| cannot_write(&copy, &error))?;
        self.made.push(Mount::new(&copy, &mount.mount_path, true));
        Ok(())
    }

    /// Mounts a copy of one file: as in Kubernetes, a `subPath` does not follow changes.
    fn add_file(&mut self, mount: &VolumeMount, file: &atomic::File) -> Result<(), String> {
        let (parent, name) = mount.mount_path.rsplit_once('/').unwrap_or(("", ""));
        let parent = if parent.is_empty() { "/" } else { parent };
        let folder = match (self.files.get(parent), &self.root) {
            (Some(folder), _) => folder.clone(),
            // The guest does not run yet, so the root contains nothing of its making.
            (None, Some(root)) if parent == "/" => root.clone(),
            (None, _) => {
                let folder = self.folder("files", self.files.len())?;
                self.made.push(Mount::new(&folder, parent, true));
                self.files.insert(parent.to_owned(), folder.clone());
                folder
            }
        };
        let payload = Payload::from([(name.to_owned(), file.clone())]);
        atomic::write(&folder, &payload).map_err(|error| cannot_write(&folder, &error))
    }

    /// Adds a folder that guests write.
    ///
    /// # Errors
    /// The folder cannot be opened without following links, or cannot be created.
    pub(super) fn add_folder(
        &mut self,
        folder: &Folder<'_>,
        mount: &VolumeMount,
    ) -> Result<(), String> {
        let Folder {
            root,
            below,
            databases,
            quota,
            may_make,
            read_only,
        } = *folder;
        let sub_path = self.sub_path(mount)?.unwrap_or_default();
        let failed = |path: &Path, error: &io::Error| {
            format!(
                "volume `{}` cannot be mounted: `{}`: {error}; the path must be a folder without \
                 symbolic links",
                mount.name,
                path.display()
            )
        };
        let path = below.join(&sub_path);
        beneath::open(root, below, may_make).map_err(|error| failed(below, &error))?;
        let opened = beneath::open(root, &path, true).map_err(|error| failed(&path, &error))?;
        let databases = private_folder::create(databases)
            .and_then(|()| fs::canonicalize(databases))
            .map_err(|error| cannot_write(databases, &error))?;
        self.made.push(Mount {
            databases: Some(databases.join(&path)),
            host_path: root.join(&path),
            volume: root.to_path_buf(),
            opened: Some(Arc::new(opened)),
            guest_path: mount.mount_path.value.clone(),
            read_only: read_only || mount.read_only,
            quota: Some(quota.clone()),
        });
        Ok(())
    }

    /// Checks that no volume is mounted over a folder of single files, which it would hide.
    pub(super) fn finish(self) -> Result<Vec<Mount>, String> {
        for (index, mount) in self.made.iter().enumerate() {
            let earlier = self.made.iter().take(index);
            if earlier
                .into_iter()
                .any(|it| it.guest_path == mount.guest_path)
            {
                return Err(format!(
                    "a single file is mounted into `{}`, where a volume is mounted too; combine both \
                     in one projected volume, or mount the file elsewhere",
                    mount.guest_path
                ));
            }
        }
        Ok(self.made)
    }

    fn sub_path(&self, mount: &VolumeMount) -> Result<Option<String>, String> {
        let expression = match &mount.sub_path {
            None => return Ok(None),
            Some(SubPath::Plain(path)) => return Ok(Some(tidy(path))),
            Some(SubPath::Expression(expression)) => expression,
        };
        let path = expand(expression, |name| lookup(self.environment, name));
        let leads_out = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if path.contains("$(") || leads_out || path.is_empty() {
            // The message shows the expression only: a value may come from a Secret.
            return Err(format!(
                "subPathExpr `{expression}` is not a path below volume `{}`; use only variables of \
                 the container, and no `..`",
                mount.name
            ));
        }
        Ok(Some(tidy(&path)))
    }

    /// Creates an empty folder that belongs to the pod.
    fn folder(&self, kind: &str, index: usize) -> Result<PathBuf, String> {
        let folder = self.pod.folder.join(kind).join(index.to_string());
        let made = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&folder),
        };
        made.map_err(|error| cannot_write(&folder, &error))?;
        Ok(folder)
    }
}

fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    format!("cannot write the files of the pod to `{path}`: {error}")
}
