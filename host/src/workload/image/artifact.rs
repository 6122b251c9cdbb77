//! Finds the blob in an OCI manifest that is the component.
//!
//! A component is the one layer with a WebAssembly media type. An index points to its
//! entry for WebAssembly, or to its only entry.

use oci_spec::image::{Descriptor, Digest};
use serde::Deserialize;

use super::digest;
use super::verify::SIGNATURES_MAX;

/// The largest manifest, in bytes. Registries reject larger ones too.
pub(super) const MANIFEST_MAX: u64 = 4 << 20;

const LAYERS: [&str; 2] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];

/// A document that is signed by an annotation of its layer.
const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What a manifest points to.
#[derive(Debug)]
pub(super) enum Next {
    /// The component and its size in bytes.
    Component(Digest, u64),
    /// Another manifest, because this one is an index.
    Manifest(Digest),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("its manifest cannot be read")]
    Manifest(#[from] serde_json::Error),
    #[error("its manifest names `{0}`, which is not a SHA-256 digest")]
    Digest(Digest),
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

/// Reads a manifest or an index.
///
/// `ImageManifest` and `ImageIndex` are not used: they require fields that do not matter
/// here, and the media type that tells them apart is optional.
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
    let is_component = |layer: &&Descriptor| LAYERS.contains(&layer.media_type().as_ref());
    let components: Vec<_> = layers.iter().filter(is_component).collect();
    match components.as_slice() {
        [component] => Ok(Next::Component(digest_of(component)?, component.size())),
        [] => {
            let types = layers.iter().map(|layer| layer.media_type().to_string());
            Err(ArtifactError::NotAComponent(types.collect()))
        }
        several => Err(ArtifactError::Several(several.len())),
    }
}

/// The layers of a manifest that are signed documents, as cosign writes them.
pub(super) fn signatures(manifest: &[u8]) -> Result<Vec<Descriptor>, ArtifactError> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        layers: Vec<Descriptor>,
    }
    let Manifest { mut layers } = serde_json::from_slice(manifest)?;
    layers.retain(|layer| layer.media_type().as_ref() == SIGNATURE);
    layers.truncate(SIGNATURES_MAX);
    Ok(layers)
}

fn index(manifests: &[Descriptor]) -> Result<Digest, ArtifactError> {
    let is_wasm = |entry: &&Descriptor| {
        let platform = entry.platform().as_ref();
        platform.is_some_and(|it| it.architecture().to_string().starts_with("wasm"))
    };
    let entry = match manifests {
        [only] => Some(only),
        several => several.iter().find(is_wasm),
    };
    digest_of(entry.ok_or(ArtifactError::NoPlatform(manifests.len()))?)
}

/// # Errors
/// The digest is not a SHA-256 digest.
pub(super) fn digest_of(descriptor: &Descriptor) -> Result<Digest, ArtifactError> {
    let digest = descriptor.digest().clone();
    match digest::is_supported(&digest) {
        true => Ok(digest),
        false => Err(ArtifactError::Digest(digest)),
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;
    use serde_json::json;

    use super::*;

    fn blob(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": digest::of(media_type.as_bytes()), "size": 7})
    }

    fn read(manifest: &serde_json::Value) -> Result<Next, ArtifactError> {
        next(manifest.to_string().as_bytes())
    }

    #[test]
    fn the_layer_of_either_media_type_is_the_component() {
        for layer in LAYERS {
            let manifest = json!({"layers": [blob("text/plain"), blob(layer)]});
            match read(&manifest) {
                Ok(Next::Component(digest, 7)) => assert_eq!(digest, digest::of(layer.as_bytes())),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_index_points_to_its_entry_for_webassembly() {
        let manifest = MediaType::ImageManifest.to_string();
        let mut entry = blob(&manifest);
        entry["platform"] = json!({"os": "wasip2", "architecture": "wasm"});
        let mut native = blob("other");
        native["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let found = read(&json!({"manifests": [native, entry]}));
        assert!(
            matches!(found, Ok(Next::Manifest(digest)) if digest == digest::of(manifest.as_bytes()))
        );
        let none = read(&json!({"manifests": [native, native]}));
        assert!(matches!(none, Err(ArtifactError::NoPlatform(2))));
    }

    #[test]
    fn manifests_without_exactly_one_component_are_rejected() {
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let image = read(&json!({"layers": [blob(tar)]})).expect_err("a container image");
        assert!(image.to_string().contains("container image") && image.to_string().contains(tar));
        let both = read(&json!({"layers": [blob(LAYERS[0]), blob(LAYERS[1])]}));
        assert!(matches!(both, Err(ArtifactError::Several(2))));
        let layer = |digest: &str| {
            read(&json!({"layers": [{"mediaType": LAYERS[0], "digest": digest, "size": 1}]}))
        };
        let sha512 = format!("sha512:{}", "ab".repeat(64));
        assert!(matches!(layer(&sha512), Err(ArtifactError::Digest(_))));
        assert!(matches!(
            layer("../../etc"),
            Err(ArtifactError::Manifest(_))
        ));
    }
}
