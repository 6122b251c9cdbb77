//! PersistentVolumeClaim.

use crate::decode::{Decoder, Fields, bytes, choice, non_empty, string};
use crate::model::{AccessMode, PersistentVolumeClaim, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let claim = claim(&mut fields);
    fields.finish(&[]);
    Some(Resource::PersistentVolumeClaim(claim?))
}

/// The `spec` of a claim.
pub(super) fn claim(fields: &mut Fields<'_, '_>) -> Option<PersistentVolumeClaim> {
    fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let access_modes = spec.list("accessModes", access_mode);
        let storage = spec.required("resources", |d, node| {
            let mut resources = Fields::of(d, node)?;
            let storage = resources.required("requests", |d, node| {
                let mut requests = Fields::of(d, node)?;
                let storage = requests.required("storage", bytes);
                requests.finish(&[]);
                storage
            });
            resources.finish(&["limits", "claims"]);
            storage
        });
        let storage_class = spec.optional("storageClassName", string);
        let volume_name = spec.optional("volumeName", non_empty);
        // A claim is a folder in the data folder, regardless of its class and volume.
        spec.finish(&[
            "volumeMode",
            "selector",
            "dataSource",
            "dataSourceRef",
            "volumeAttributesClassName",
        ]);
        Some(PersistentVolumeClaim {
            storage,
            access_modes,
            storage_class: storage_class.unwrap_or_default(),
            volume_name,
        })
    })
}

pub(super) fn access_mode(d: &mut Decoder, node: &Node) -> Option<AccessMode> {
    let modes = [
        ("ReadWriteOnce", AccessMode::ReadWriteOnce),
        ("ReadOnlyMany", AccessMode::ReadOnlyMany),
        ("ReadWriteMany", AccessMode::ReadWriteMany),
        ("ReadWriteOncePod", AccessMode::ReadWriteOncePod),
    ];
    choice(d, node, "an access mode", &modes)
}
