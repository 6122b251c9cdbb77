//! The accounts of volumes: one per folder, for all pods that mount it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use galleria_manifest::model::{Object, Resource};
use parking_lot::Mutex;

use crate::guest::{DiskFloor, VolumeQuota};

/// The accounts of all volumes of the host.
#[derive(Debug)]
pub(super) struct Quotas {
    floor: Arc<DiskFloor>,
    /// Accounts of folders that outlive pods, while a pod uses them.
    shared: Mutex<HashMap<PathBuf, Weak<VolumeQuota>>>,
}

impl Quotas {
    /// Accounts of volumes on the file system of `data`.
    pub(super) fn on(data: &Path) -> Self {
        Self {
            floor: Arc::new(DiskFloor::of(data)),
            shared: Mutex::default(),
        }
    }

    pub(super) fn floor(&self) -> &Arc<DiskFloor> {
        &self.floor
    }

    /// The account of `folder`, which is measured if it is new. Without a `limit`, an
    /// existing account keeps its limit.
    pub(super) fn of(&self, folder: &Path, limit: Option<u64>) -> Arc<VolumeQuota> {
        let mut shared = self.shared.lock();
        shared.retain(|_, quota| quota.strong_count() > 0);
        if let Some(quota) = shared.get(folder).and_then(Weak::upgrade) {
            if let Some(limit) = limit {
                quota.set_limit(limit);
            }
            return quota;
        }
        let quota = VolumeQuota::new(folder, limit.unwrap_or(u64::MAX), &self.floor, None);
        shared.insert(folder.into(), Arc::downgrade(&quota));
        drop(shared);
        quota.measure();
        quota
    }
}

/// The sizes that claims request, among the objects of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) objects: &'a [Arc<Object>],
    /// The object whose `volumeClaimTemplates` are used.
    pub(crate) owner: &'a Object,
}

impl Claims<'_> {
    /// `resources.requests.storage` of a claim, in bytes.
    pub(super) fn size(&self, namespace: &str, name: &str) -> Option<u64> {
        self.objects
            .iter()
            .find_map(|object| match &object.resource {
                Resource::PersistentVolumeClaim(claim)
                    if object.metadata.namespace == namespace
                        && object.metadata.name.value == name =>
                {
                    claim.storage
                }
                _ => None,
            })
    }

    /// As [`Claims::size`], of a claim that is created with its pod.
    pub(super) fn size_of_template(&self, name: &str) -> Option<u64> {
        let Resource::StatefulSet(set) = &self.owner.resource else {
            return None;
        };
        let template = set.claims.iter().find(|it| it.name.value == name)?;
        template.claim.storage
    }
}
