//! Columns of volumes, claims and classes.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, column, joined, wide};

pub(super) const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    column("Capacity", |it| it.at("/spec/capacity/storage").clone()),
    column("Access Modes", |it| access_modes(it, "/spec/accessModes")),
    column("Reclaim Policy", |it| {
        match it.text("/spec/persistentVolumeReclaimPolicy") {
            "" => "Retain".into(),
            policy => policy.into(),
        }
    }),
    column("Status", |it| it.text("/status/phase").into()),
    column("Claim", |it| {
        match (
            it.text("/spec/claimRef/namespace"),
            it.text("/spec/claimRef/name"),
        ) {
            (_, "") => "".into(),
            (namespace, name) => format!("{namespace}/{name}").into(),
        }
    }),
    column("StorageClass", |it| {
        it.text("/spec/storageClassName").into()
    }),
    column("VolumeAttributesClass", attributes_class),
    column("Reason", |it| it.text("/status/reason").into()),
    AGE,
    wide("VolumeMode", volume_mode),
];

pub(super) const PERSISTENT_VOLUME_CLAIM: &[Column] = &[
    NAME,
    column("Status", |it| it.text("/status/phase").into()),
    column("Volume", |it| it.text("/spec/volumeName").into()),
    column("Capacity", |it| it.text("/status/capacity/storage").into()),
    column("Access Modes", |it| access_modes(it, "/status/accessModes")),
    column("StorageClass", |it| {
        it.text("/spec/storageClassName").into()
    }),
    column("VolumeAttributesClass", attributes_class),
    AGE,
    wide("VolumeMode", volume_mode),
];

pub(super) const STORAGE_CLASS: &[Column] = &[
    NAME,
    column("Provisioner", |it| it.text("/provisioner").into()),
    column("ReclaimPolicy", |it| match it.text("/reclaimPolicy") {
        "" => "Delete".into(),
        policy => policy.into(),
    }),
    column("VolumeBindingMode", |it| {
        match it.text("/volumeBindingMode") {
            "" => "Immediate".into(),
            mode => mode.into(),
        }
    }),
    column("AllowVolumeExpansion", |it| {
        it.at("/allowVolumeExpansion")
            .as_bool()
            .unwrap_or(false)
            .into()
    }),
    AGE,
];

fn attributes_class(it: Cell<'_>) -> Value {
    match it.text("/spec/volumeAttributesClassName") {
        "" => "<unset>".into(),
        class => class.into(),
    }
}

fn volume_mode(it: Cell<'_>) -> Value {
    match it.text("/spec/volumeMode") {
        "" => "Filesystem".into(),
        mode => mode.into(),
    }
}

/// In kubectl's short form.
fn access_modes(it: Cell<'_>, pointer: &str) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO".to_owned(),
        Some("ReadOnlyMany") => "ROX".to_owned(),
        Some("ReadWriteMany") => "RWX".to_owned(),
        Some("ReadWriteOncePod") => "RWOP".to_owned(),
        _ => String::new(),
    };
    match joined(it.list(pointer).map(short)) {
        Value::String(none) if none == "<none>" => "".into(),
        modes => modes,
    }
}
