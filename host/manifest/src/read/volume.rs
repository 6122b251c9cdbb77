//! A pod's volumes. Those whose files come from the API are read in `file_volume`.

use super::file_volume;
use crate::codes;
use crate::decode::{Decoder, Fields, boolean, bytes, choice, dns_label, located, located_string};
use crate::model::{Volume, VolumeSource};
use crate::yaml::{Node, Value};

/// Supported sources.
const SERVED: &[&str] = &[
    "emptyDir",
    "persistentVolumeClaim",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "hostPath",
];

/// Sources of the API that need a node or a cluster.
const OTHER: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
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
    // `emptyDir:` without a value is valid too.
    if fields.take_with_key("emptyDir").is_none() && entries.iter().any(|e| e.key == "emptyDir") {
        sources.push(VolumeSource::EmptyDir { size_limit: None });
    }
    sources.extend(fields.optional("emptyDir", empty_dir));
    sources.extend(fields.optional("persistentVolumeClaim", claim));
    let mut files = Vec::new();
    files.extend(fields.optional("configMap", file_volume::config_map));
    files.extend(fields.optional("secret", file_volume::secret));
    files.extend(fields.optional("downwardAPI", file_volume::downward_api));
    files.extend(fields.optional("projected", file_volume::projected));
    sources.extend(files.into_iter().map(VolumeSource::Files));
    sources.extend(fields.optional("hostPath", host_path));
    if let Some(other) = other {
        fields.ignore(&[other]);
        let message = "this kind of volume is not served by this host; use configMap, secret, \
                       emptyDir or persistentVolumeClaim"
            .to_owned();
        fields.warn_at(other, codes::VOLUME, message);
        sources.push(VolumeSource::Other(other.to_owned()));
    }
    let set = entries
        .iter()
        .filter(|e| SERVED.contains(&e.key.as_str()))
        .count();
    let set = set + usize::from(other.is_some());
    if set != 1 {
        let message = format!("a volume needs exactly one source: {}", SERVED.join(", "));
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
    let medium = fields.optional("medium", |d, node| {
        choice(d, node, "a medium", &[("", false), ("Memory", true)])
    });
    if medium == Some(true) {
        let message = "the files are kept in the data folder, not in memory, and do not count \
                       towards limits.memory; put the data folder on a tmpfs if they must be"
            .to_owned();
        fields.warn_at("medium", codes::NOT_HONOURED, message);
    }
    fields.finish(&[]);
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
    let path = fields.required("path", |d, node| {
        let path = located_string(d, node)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let shown = d.show(&path);
            let message = format!("{shown} is not an absolute path without `..`");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(path)
    });
    let kind = fields.optional("type", |d, node| {
        let kinds = [
            ("", Some(false)),
            ("DirectoryOrCreate", Some(false)),
            ("Directory", Some(true)),
            ("File", None),
            ("FileOrCreate", None),
            ("Socket", None),
            ("CharDevice", None),
            ("BlockDevice", None),
        ];
        let kind = choice(d, node, "a type of hostPath", &kinds)?;
        if kind.is_none() {
            let message = "a component can only mount folders; mount the folder that contains it, with \
                           `type: Directory`";
            d.error(node.mark, codes::VOLUME, message);
        }
        kind
    });
    fields.finish(&[]);
    Some(VolumeSource::HostPath {
        path: path?,
        must_exist: kind.unwrap_or(false),
    })
}
