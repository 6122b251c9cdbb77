//! Which folder of the host serves each volume of a pod template.

use std::path::{Component, Path};

use galleria_manifest::model::{Volume, VolumeSource};

use super::{BoundVolume, Claims, DataFolder, Place, VolumeError, beneath, files};
use crate::private_folder;
use crate::workload::configuration::Configuration;
use crate::workload::field::PodFacts;

impl DataFolder {
    /// Resolves every volume that the pod's container mounts, and creates the folders of claims.
    ///
    /// # Errors
    /// A kind of volume that is not supported, a hostPath outside of the namespace's
    /// folder, a key that is missing, or a folder that cannot be created.
    pub(crate) fn bind(
        &self,
        facts: &PodFacts<'_>,
        configuration: &Configuration,
        claims: Claims<'_>,
    ) -> Result<Vec<BoundVolume>, Vec<VolumeError>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        for volume in &facts.template.spec.volumes {
            let mounts = facts.container.volume_mounts.iter();
            let mounts: Vec<_> = mounts
                .filter(|mount| mount.name == volume.name)
                .cloned()
                .collect();
            if mounts.is_empty() {
                continue;
            }
            match self.place(volume, facts, configuration, claims) {
                Ok(place) => bound.push(BoundVolume {
                    name: volume.name.value.clone(),
                    place,
                    read_only: volume.is_read_only(),
                    mounts,
                    is_per_pod: matches!(volume.source, VolumeSource::ClaimTemplate),
                }),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() {
            Ok(bound)
        } else {
            Err(errors)
        }
    }

    fn place(
        &self,
        volume: &Volume,
        facts: &PodFacts<'_>,
        configuration: &Configuration,
        claims: Claims<'_>,
    ) -> Result<Place, Vec<VolumeError>> {
        let namespace = &facts.identity.namespace;
        let place = match &volume.source {
            VolumeSource::Files(source) => {
                let payload = files::payload(source, configuration, facts);
                return payload.map(|_| Place::Files(source.clone()));
            }
            VolumeSource::PersistentVolumeClaim { claim_name, .. } => {
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
            VolumeSource::Other(kind) => Err(format!(
                "volume `{}` is {kind}, which this host does not support; use a persistentVolumeClaim",
                volume.name
            )),
        };
        place.map_err(|message| vec![VolumeError::new(&volume.name, message)])
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

    /// The place of the claims of pods; the folder of each is created with its pod.
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

    /// A folder within the namespace's folder. The message for any other path is the same
    /// whether that path exists or not, so that nothing outside can be probed.
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
}

/// The first part of a path below a namespace's folder; None if the path leads out of
/// the folder. Names that begin with a dot are reserved for the host.
fn volume_of(inner: &Path) -> Option<&str> {
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    let name = inner.components().next()?.as_os_str().to_str()?;
    (inner.components().all(is_name) && !name.starts_with('.')).then_some(name)
}
