//! What an OCI manifest says: which blob is the component.
//!
//! A component is one layer of a WebAssembly media type. An index leads to its
//! entry for WebAssembly, or to its only one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reference::Digest;

/// The largest manifest. Registries refuse larger ones too.
pub(super) const MANIFEST_MAX: u64 = 4 << 20;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYERS: [&str; 2] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];

/// A blob, as manifests name it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Platform {
    architecture: String,
}

/// Where a manifest leads.
#[derive(Debug)]
pub(super) enum Next {
    /// The component itself, and its size.
    Component(Digest, u64),
    /// Another manifest.
    Manifest(Digest),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("its manifest cannot be read")]
    Manifest(#[from] serde_json::Error),
    #[error("its manifest names `{0}`, which is not a SHA-256 digest")]
    Digest(String),
    #[error(
        "it is a container image, not a WebAssembly component (its layers are {}); declare services that run elsewhere with a ServiceEntry",
        list(.0)
    )]
    NotAComponent(Vec<String>),
    #[error("it has {0} WebAssembly layers; a component has one")]
    Several(usize),
    #[error("it has no entry for WebAssembly among {0}")]
    NoPlatform(usize),
}

fn list(types: &[String]) -> String {
    match types {
        [] => "none".to_owned(),
        types => types.join(", "),
    }
}

/// Reads one manifest or index.
pub(super) fn next(manifest: &[u8]) -> Result<Next, ArtifactError> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        layers: Vec<Descriptor>,
        #[serde(default)]
        manifests: Vec<Descriptor>,
    }
    let Manifest { layers, manifests } = serde_json::from_slice(manifest)?;
    if !manifests.is_empty() {
        return index(&manifests).map(Next::Manifest);
    }
    let is_component = |layer: &&Descriptor| LAYERS.contains(&layer.media_type.as_str());
    let components: Vec<_> = layers.iter().filter(is_component).collect();
    match components.as_slice() {
        [component] => Ok(Next::Component(digest(component)?, component.size)),
        [] => {
            let types = layers.into_iter().map(|layer| layer.media_type);
            Err(ArtifactError::NotAComponent(types.collect()))
        }
        several => Err(ArtifactError::Several(several.len())),
    }
}

fn index(manifests: &[Descriptor]) -> Result<Digest, ArtifactError> {
    let is_wasm = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform.is_some_and(|platform| platform.architecture.starts_with("wasm"))
    };
    let entry = match manifests {
        [only] => Some(only),
        several => several.iter().find(is_wasm),
    };
    digest(entry.ok_or(ArtifactError::NoPlatform(manifests.len()))?)
}

pub(super) fn digest(descriptor: &Descriptor) -> Result<Digest, ArtifactError> {
    let text = &descriptor.digest;
    Digest::parse(text).ok_or_else(|| ArtifactError::Digest(text.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn blob(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(media_type.as_bytes()).as_str(), "size": 7})
    }

    fn read(manifest: &serde_json::Value) -> Result<Next, ArtifactError> {
        next(manifest.to_string().as_bytes())
    }

    #[test]
    fn the_layer_of_either_media_type_is_the_component() {
        for layer in LAYERS {
            let manifest = json!({"layers": [blob("text/plain"), blob(layer)]});
            match read(&manifest) {
                Ok(Next::Component(digest, 7)) => assert_eq!(digest, Digest::of(layer.as_bytes())),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_index_leads_to_its_entry_for_webassembly() {
        let mut entry = blob(MANIFEST);
        entry["platform"] = json!({"os": "wasip2", "architecture": "wasm"});
        let mut native = blob("other");
        native["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let found = read(&json!({"manifests": [native, entry]}));
        assert!(
            matches!(found, Ok(Next::Manifest(digest)) if digest == Digest::of(MANIFEST.as_bytes()))
        );
        let none = read(&json!({"manifests": [native, native]}));
        assert!(matches!(none, Err(ArtifactError::NoPlatform(2))));
    }

    #[test]
    fn what_is_no_component_says_so() {
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let image = read(&json!({"layers": [blob(tar)]})).expect_err("a container image");
        assert!(image.to_string().contains("container image") && image.to_string().contains(tar));
        let both = read(&json!({"layers": [blob(LAYERS[0]), blob(LAYERS[1])]}));
        assert!(matches!(both, Err(ArtifactError::Several(2))));
        let digest =
            json!({"layers": [{"mediaType": LAYERS[0], "digest": "../../etc", "size": 1}]});
        assert!(matches!(read(&digest), Err(ArtifactError::Digest(_))));
    }
}
