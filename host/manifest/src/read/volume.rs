//! A pod's volumes.

use crate::Located;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, bytes, dns_label, integer, located, located_string, non_empty,
};
use crate::model::{KeyVolume, Volume, VolumeSource};
use crate::yaml::{Node, Value};

/// Sources of the API that need a node or a cluster.
const OTHER: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "downwardAPI",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Volume> {
    let Value::Mapping(entries) = &node.value else {
        Fields::of(d, node)?;
        return None;
    };
    let other = entries
        .iter()
        .find_map(|entry| OTHER.iter().find(|other| **other == entry.key).copied());
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located(dns_label));
    let mut sources = Vec::new();
    // `emptyDir:` with nothing behind it is an empty one too.
    if fields.take_with_key("emptyDir").is_none() && entries.iter().any(|e| e.key == "emptyDir") {
        sources.push(VolumeSource::EmptyDir { size_limit: None });
    }
    sources.extend(fields.optional("emptyDir", empty_dir));
    sources.extend(fields.optional("persistentVolumeClaim", claim));
    sources.extend(fields.optional("configMap", |d, node| {
        key_volume(d, node, "name").map(VolumeSource::ConfigMap)
    }));
    sources.extend(fields.optional("secret", |d, node| {
        key_volume(d, node, "secretName").map(VolumeSource::Secret)
    }));
    sources.extend(fields.optional("hostPath", host_path));
    if let Some(other) = other {
        fields.ignore(&[other]);
        let message = "this kind of volume is not served by this host; use configMap, secret, \
                       emptyDir or persistentVolumeClaim"
            .to_owned();
        fields.warn_at(other, codes::VOLUME, message);
        sources.push(VolumeSource::Other(other.to_owned()));
    }
    let known = [
        "emptyDir",
        "persistentVolumeClaim",
        "configMap",
        "secret",
        "hostPath",
    ];
    let set = entries
        .iter()
        .filter(|e| known.contains(&e.key.as_str()))
        .count();
    let set = set + usize::from(other.is_some());
    if set != 1 {
        let message = format!("a volume needs exactly one source: {}", known.join(", "));
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&[]);
    Some(Volume {
        name: name?,
        source: sources.pop()?,
    })
}

fn empty_dir(d: &mut Decoder, node: &Node) -> Option<VolumeSource> {
    let mut fields = Fields::of(d, node)?;
    let size_limit = fields.optional("sizeLimit", bytes);
    fields.finish(&["medium"]);
    Some(VolumeSource::EmptyDir { size_limit })
}

fn claim(d: &mut Decoder, node: &Node) -> Option<VolumeSource> {
    let mut fields = Fields::of(d, node)?;
    let claim_name = fields.required("claimName", located_string);
    let read_only = fields.optional("readOnly", boolean).unwrap_or(false);
    fields.finish(&[]);
    Some(VolumeSource::PersistentVolumeClaim {
        claim_name: claim_name?,
        read_only,
    })
}

fn host_path(d: &mut Decoder, node: &Node) -> Option<VolumeSource> {
    let mut fields = Fields::of(d, node)?;
    let path = fields.required("path", located_string);
    fields.finish(&["type"]);
    path.map(VolumeSource::HostPath)
}

fn key_volume(d: &mut Decoder, node: &Node, name_field: &'static str) -> Option<KeyVolume> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required(name_field, located_string);
    let items = fields.list("items", key_item);
    let optional = fields.optional("optional", boolean).unwrap_or(false);
    let default_mode = fields.optional("defaultMode", mode).unwrap_or(0o644);
    fields.finish(&[]);
    Some(KeyVolume {
        name: name?,
        items,
        optional,
        default_mode,
    })
}

fn key_item(d: &mut Decoder, node: &Node) -> Option<(Located<String>, String)> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.required("key", located_string);
    let path = fields.required("path", |d, node| {
        let path = non_empty(d, node)?;
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let shown = d.show(&path);
            let message = format!("{shown} must be a path below the volume, without `..`");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(path)
    });
    fields.finish(&["mode"]);
    Some((key?, path?))
}

/// File mode bits. `0644` is octal, as a cluster reads it; JSON has only decimals (420).
fn mode(d: &mut Decoder, node: &Node) -> Option<u32> {
    let text = node.as_text().unwrap_or_default();
    if text.parse::<u32>().is_ok_and(|number| number > 0o777) && !text.starts_with('0') {
        let message = format!(
            "{text} is above 511, the decimal form of 0777; mode bits are octal: write 0{text}"
        );
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    integer(0..=0o777)(d, node)
}
