//! PersistentVolumeClaim.

use crate::decode::{Fields, bytes, choice, items};
use crate::model::{PersistentVolumeClaim, Resource};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let claim = claim(&mut fields);
    fields.finish(&[]);
    Some(Resource::PersistentVolumeClaim(claim?))
}

/// The `spec` of a claim.
pub(super) fn claim(fields: &mut Fields<'_, '_>) -> Option<PersistentVolumeClaim> {
    let storage = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        spec.optional("accessModes", |d, node| {
            items(d, node, |d, node| {
                let modes = [
                    "ReadWriteOnce",
                    "ReadOnlyMany",
                    "ReadWriteMany",
                    "ReadWriteOncePod",
                ];
                choice(d, node, "an access mode", &modes.map(|mode| (mode, ())))
            })
        });
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
        // A claim is a folder in the data folder, regardless of the storage class.
        spec.finish(&[
            "storageClassName",
            "volumeMode",
            "volumeName",
            "selector",
            "dataSource",
            "dataSourceRef",
            "volumeAttributesClassName",
        ]);
        Some(storage)
    })?;
    Some(PersistentVolumeClaim { storage })
}
