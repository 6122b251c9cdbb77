//! Components from OCI image layouts in the components folder.

use std::path::Path;

use serde_json::json;

use super::{LAYER, Web, component};

pub(super) fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes a blob and returns its digest.
pub(super) fn blob(layout: &Path, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a folder");
    std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).expect("a blob");
    digest
}

/// A layout `shop` with a component for each tag; returns the digests of the manifests
/// and of the components.
pub(super) fn layout(web: &Web, tags: &[(&str, &str)]) -> Vec<(String, String)> {
    let folder = web.components().join("shop");
    let mut entries = Vec::new();
    let mut digests = Vec::new();
    for (tag, guest) in tags {
        let bytes = component(guest);
        let layer = blob(&folder, &bytes);
        let config = blob(&folder, b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": bytes.len()}],
        });
        let manifest = manifest.to_string();
        let digest = blob(&folder, manifest.as_bytes());
        entries.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }));
        digests.push((digest, layer));
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(folder.join("index.json"), index.to_string()).expect("the index");
    digests
}

#[test]
fn tag_or_digest_finds_the_component_in_a_layout() {
    let web = Web::new();
    let digests = layout(&web, &[("v1", "hello"), ("demo/shop:v2", "trap")]);
    let pinned = format!("demo/shop@{}", digests[0].0);
    for (image, answer) in [
        ("demo/shop:v1", "hello\n"),
        ("demo/shop:v2", "ok\n"),
        (pinned.as_str(), "hello\n"),
    ] {
        let host = web.galleria(image).start();
        assert_eq!(host.get("/web/ok").body, answer, "{image}");
    }
    let output = web.galleria("demo/shop:v3").fail();
    let said = "has no `v3`; it has v1, demo/shop:v2";
    assert!(output.stderr.contains(said), "{}", output.stderr);
}

#[test]
fn altered_layout_is_refused() {
    let web = Web::new();
    let digests = layout(&web, &[("v1", "hello")]);
    let (_, layer) = &digests[0];
    let path = web.components().join("shop/blobs/sha256");
    let path = path.join(layer.trim_start_matches("sha256:"));
    std::fs::write(path, component("trap")).expect("the blob");
    let output = web.galleria("demo/shop:v1").fail();
    assert!(
        output.stderr.contains("whose content is sha256:"),
        "{}",
        output.stderr
    );
}

#[test]
fn file_must_match_a_pinned_digest() {
    let web = Web::new();
    std::fs::write(web.components().join("shop.wasm"), component("hello")).expect("a file");
    let other = format!("demo/shop:v1@sha256:{}", "ab".repeat(32));
    let output = web.galleria(&other).fail();
    assert!(
        output.stderr.contains("correct the digest"),
        "{}",
        output.stderr
    );
    let digest = blob(&web.data(), &component("hello"));
    let host = web.galleria(&format!("demo/shop:v1@{digest}")).start();
    assert_eq!(host.get("/web/").body, "hello\n");
}
