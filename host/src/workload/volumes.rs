//! Volumes: folders of the host that a pod's containers mount.
//!
//! Everything lies below the data folder: a claim is a folder that outlives its
//! pods and that every pod with the claim shares.

use std::fs;
use std::path::PathBuf;

use galleria_manifest::Position;
use galleria_manifest::model::{Container, PodSpec, VolumeSource};

use crate::guest::Mount;

/// Where volumes live (`--data DIR`).
#[derive(Debug, Clone)]
pub(crate) struct DataFolder(PathBuf);

/// A volume that was found, with the places where it is mounted.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub mounts: Vec<Mount>,
}

/// A volume that cannot be served.
#[derive(Debug)]
pub(crate) struct VolumeError {
    pub at: Position,
    pub message: String,
}

impl DataFolder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Finds, and makes where it is missing, the folder of every volume that
    /// `container` mounts.
    ///
    /// # Errors
    /// A kind of volume that is not served, or a folder that cannot be made.
    pub(crate) fn bind(
        &self,
        namespace: &str,
        pod: &PodSpec,
        container: &Container,
    ) -> Result<Vec<Bound>, Vec<VolumeError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        for volume in &pod.volumes {
            let mounts = container
                .volume_mounts
                .iter()
                .filter(|mount| mount.name == volume.name);
            let problem = |message: String| VolumeError {
                at: volume.name.at.clone(),
                message,
            };
            let (claim, read_only) = match &volume.source {
                VolumeSource::PersistentVolumeClaim {
                    claim_name,
                    read_only,
                } => (claim_name, *read_only),
                other => {
                    errors.push(problem(format!(
                        "volume `{}` is {}, which this host does not serve; use a persistentVolumeClaim, or env and envFrom for configuration",
                        volume.name,
                        kind(other)
                    )));
                    continue;
                }
            };
            let host_path = self.0.join("volumes").join(namespace).join(claim.as_str());
            if let Err(error) = fs::create_dir_all(&host_path) {
                errors.push(problem(format!(
                    "the folder `{}` of claim `{claim}` cannot be made: {error}; choose another with --data",
                    host_path.display()
                )));
                continue;
            }
            let mounts = mounts
                .map(|mount| Mount {
                    host_path: match &mount.sub_path {
                        Some(path) => host_path.join(path),
                        None => host_path.clone(),
                    },
                    guest_path: mount.mount_path.value.clone(),
                    read_only: read_only || mount.read_only,
                })
                .collect();
            bound.push(Bound { mounts });
        }
        if errors.is_empty() {
            Ok(bound)
        } else {
            Err(errors)
        }
    }
}

fn kind(source: &VolumeSource) -> &str {
    match source {
        VolumeSource::PersistentVolumeClaim { .. } => "a persistentVolumeClaim",
        VolumeSource::EmptyDir { .. } => "an emptyDir",
        VolumeSource::ConfigMap(_) => "a configMap",
        VolumeSource::Secret(_) => "a secret",
        VolumeSource::HostPath(_) => "a hostPath",
        VolumeSource::Other(kind) => kind,
    }
}
