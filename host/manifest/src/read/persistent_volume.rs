//! PersistentVolume.

use super::storage::access_mode;
use crate::decode::{Decoder, Fields, bytes, string};
use crate::model::{PersistentVolume, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let volume = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::PersistentVolume(volume?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<PersistentVolume> {
    let mut spec = Fields::of(d, node)?;
    let storage = spec.required("capacity", |d, node| {
        let mut capacity = Fields::of(d, node)?;
        let storage = capacity.required("storage", bytes);
        capacity.finish(&[]);
        storage
    });
    let access_modes = spec.list("accessModes", access_mode);
    let storage_class = spec.optional("storageClassName", string);
    // A cluster writes these; the host binds volumes itself.
    spec.ignore(&["claimRef", "persistentVolumeReclaimPolicy", "volumeMode"]);
    spec.finish(&[
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "csi",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "glusterfs",
        "hostPath",
        "iscsi",
        "local",
        "mountOptions",
        "nfs",
        "nodeAffinity",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "volumeAttributesClassName",
        "vsphereVolume",
    ]);
    Some(PersistentVolume {
        storage: Some(storage?),
        access_modes,
        storage_class: storage_class.unwrap_or_default(),
    })
}
