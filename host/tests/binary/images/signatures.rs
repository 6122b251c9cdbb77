//! Images that start only with a valid signature: `--verify-images`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_client::client::ImageLayer;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::layouts::{blob, layout};
use super::{LAYER, Web, component};
use crate::support::{Galleria, PASSWORD, Registry, USER, eventually, kubectl, refused};

const DOCUMENT: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A key that signs as cosign does.
struct Signer {
    pair: EcdsaKeyPair,
    pem: String,
}

impl Signer {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &key.serialize_der(), &SystemRandom::new());
        Self {
            pair: pair.expect("a key"),
            pem: key.public_key_pem(),
        }
    }

    /// The signature of `message`, in base64.
    fn sign(&self, message: &[u8]) -> String {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        BASE64_STANDARD.encode(signature.expect("a signature"))
    }

    /// Pushes a signature of the manifest `digest` where cosign pushes it.
    fn push(&self, registry: &Registry, repository: &str, digest: &str) {
        let document = document(digest);
        let signature = (SIGNATURE.to_owned(), self.sign(document.as_bytes()));
        let annotations = BTreeMap::from([signature]);
        let layer = ImageLayer::new(document.into_bytes(), DOCUMENT.into(), Some(annotations));
        let tag = digest.replace(':', "-");
        registry.push_layer(&format!("{repository}:{tag}.sig"), layer);
    }
}

fn document(digest: &str) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": "registry.example/shop/hello"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

/// Writes a policy `shop` for the images of `glob`, which the key must have signed.
fn policy(web: &Web, glob: &str, key: &Signer) -> String {
    let policy = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": "shop"},
        "spec": {
            "images": [{"glob": glob}],
            "authorities": [{"name": "release", "key": {"data": key.pem}}],
        },
    });
    flag(web, &policy.to_string())
}

/// Writes the file of a policy, and returns the flag that names it.
fn flag(web: &Web, text: &str) -> String {
    let file = web.folder.path().join("policy.txt");
    std::fs::write(&file, text).expect("a file");
    format!("--verify-images={}", file.display())
}

/// With a login for the registry, and one retry a second.
fn web(registry: &Registry) -> Web {
    let login = json!({"auths": {&registry.host: {"username": USER, "password": PASSWORD}}});
    Web::new()
        .with(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: registry, namespace: test}}
type: kubernetes.io/dockerconfigjson
stringData: {{.dockerconfigjson: '{login}'}}
"
        ))
        .pod("imagePullSecrets: [{name: registry}]")
}

#[track_caller]
fn is_refused(galleria: Galleria, reason: &str) {
    let output = galleria.fail();
    assert_eq!(output.code, Some(1));
    let said = &output.stderr;
    for part in [
        "is not started",
        "policy `shop` in `",
        "containers[0].image",
        reason,
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn image_of_a_registry_starts_only_with_a_valid_signature() {
    let registry = Registry::start();
    let (digest, _) = registry.push("shop/hello:v1", component("hello"), LAYER);
    let (other, _) = registry.push("shop/other:v1", component("trap"), LAYER);
    let (ours, theirs) = (Signer::new(), Signer::new());
    let web = web(&registry);
    let image = format!("{}/shop/hello:v1", registry.host);
    let start = |glob: &str| web.galleria(&image).argument(&policy(&web, glob, &ours));

    let host = start("registry.example/**").start();
    assert_eq!(
        host.get("/web/").body,
        "hello\n",
        "no policy covers the image"
    );
    drop(host);

    let glob = format!("{}/shop/*", registry.host);
    is_refused(
        start(&glob),
        "authority `release`: there is no signature; sign it with `cosign sign",
    );
    theirs.push(&registry, "shop/hello", &digest);
    is_refused(start(&glob), "it is not made with this key");
    // A signature of another image, copied to this one.
    let document = document(&other);
    let annotations = BTreeMap::from([(SIGNATURE.to_owned(), ours.sign(document.as_bytes()))]);
    let layer = ImageLayer::new(document.into_bytes(), DOCUMENT.into(), Some(annotations));
    let tag = digest.replace(':', "-");
    registry.push_layer(&format!("shop/hello:{tag}.sig"), layer);
    is_refused(start(&glob), "it is valid, but for another image");

    ours.push(&registry, "shop/hello", &digest);
    let host = start(&glob).start();
    assert_eq!(host.get("/web/").body, "hello\n");
    drop(host);

    drop(registry);
    let host = start(&glob).start();
    assert_eq!(host.get("/web/").body, "hello\n", "the signature is stored");
}

#[test]
fn change_to_an_unsigned_image_waits_for_its_signature() {
    let registry = Registry::start();
    let key = Signer::new();
    let (digest, _) = registry.push("shop/app:v1", component("hello"), LAYER);
    key.push(&registry, "shop/app", &digest);
    let web = web(&registry);
    let host = web
        .galleria(&format!("{}/shop/app:v1", registry.host))
        .argument(&policy(&web, "**", &key))
        .argument("--restart-backoff-initial=100ms")
        .start();
    assert_eq!(host.get("/web/ok").body, "hello\n");

    let (digest, _) = registry.push("shop/app:v2", component("trap"), LAYER);
    web.write(&format!("{}/shop/app:v2", registry.host), "");
    let message = eventually("the image is refused", || {
        let mut events = host.objects("Event").into_iter();
        let failed = events.find(|it| it["reason"] == "Failed");
        failed.and_then(|it| it["message"].as_str().map(ToOwned::to_owned))
    });
    assert!(message.contains("there is no signature"), "{message}");
    assert_eq!(
        host.get("/web/ok").body,
        "hello\n",
        "the signed image still serves"
    );

    key.push(&registry, "shop/app", &digest);
    eventually("the signed image serves", || {
        (host.get("/web/ok").body == "ok\n").then_some(())
    });
}

#[test]
fn file_needs_a_signature_beside_it_also_for_kubectl() {
    let key = Signer::new();
    let web = Web::new();
    let path = |name: &str| web.components().join(name);
    let write = |name: &str, content: &[u8]| std::fs::write(path(name), content).expect("a file");
    write("hello.wasm", &component("hello"));
    let covered = policy(&web, "**", &key);
    let start = || web.galleria("shop/hello:v1").argument(&covered);
    let advice = format!(
        "--output-signature {0}.sig {0}",
        path("hello.wasm").display()
    );
    is_refused(
        start(),
        &format!("there is no signature; sign the file with `cosign sign-blob --key KEY {advice}`"),
    );
    write(
        "hello.wasm.sig",
        Signer::new().sign(&component("hello")).as_bytes(),
    );
    is_refused(start(), "it is not made with this key");
    write("hello.wasm.sig", key.sign(&component("trap")).as_bytes());
    is_refused(start(), "it is not made with this key");
    write("hello.wasm.sig", b"?");
    let said = start().fail().stderr;
    assert!(
        said.contains("its signature `") && said.contains("base64"),
        "{said}"
    );

    write("hello.wasm.sig", key.sign(&component("hello")).as_bytes());
    write("other.wasm", &component("trap"));
    let host = start().start();
    assert_eq!(host.get("/web/").body, "hello\n");
    let applied: Value = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "other", "namespace": "test"},
        "spec": {
            "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "app", "image": "shop/other:v1"}]},
            },
        },
    });
    let file = web.folder.path().join("applied.json");
    std::fs::write(&file, applied.to_string()).expect("a file");
    let file = file.display().to_string();
    let said = refused(&host, &["apply", "-f", &file]);
    assert!(
        said.contains("policy `shop`") && said.contains("there is no signature"),
        "{said}"
    );
    let bundle = json!({"base64Signature": key.sign(&component("trap"))});
    write("other.wasm.bundle", bundle.to_string().as_bytes());
    kubectl(&host, &["apply", "-f", &file]);
}

#[test]
fn layout_has_its_signatures_under_either_name() {
    let key = Signer::new();
    for annotations in [
        json!({"kind": "dev.cosignproject.cosign/sigs"}),
        Value::Null,
    ] {
        let web = Web::new();
        let digests = layout(&web, &[("v1", "hello")]);
        let signed = &digests[0].0;
        let start = || web.galleria("demo/shop:v1").argument(&flag(&web, &key.pem));
        let said = start().fail().stderr;
        assert!(said.contains("policy `policy.txt`"), "{said}");
        assert!(
            said.contains("copy it with its signatures, with `cosign save`"),
            "{said}"
        );

        let folder = web.components().join("shop");
        let document = document(signed);
        let layer = json!({
            "mediaType": DOCUMENT,
            "digest": blob(&folder, document.as_bytes()),
            "size": document.len(),
            "annotations": {SIGNATURE: key.sign(document.as_bytes())},
        });
        let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
        let by_tag = json!({"org.opencontainers.image.ref.name": format!("{}.sig", signed.replace(':', "-"))});
        let entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": blob(&folder, manifest.as_bytes()),
            "size": manifest.len(),
            "annotations": if annotations.is_null() { by_tag } else { annotations },
        });
        let path: PathBuf = folder.join("index.json");
        let index = std::fs::read(&path).expect("the index");
        let mut index: Value = serde_json::from_slice(&index).expect("JSON");
        index["manifests"]
            .as_array_mut()
            .expect("a list")
            .push(entry);
        std::fs::write(&path, index.to_string()).expect("the index");
        let host = start().start();
        assert_eq!(host.get("/web/").body, "hello\n");
    }
}

#[test]
fn policy_that_cannot_be_used_stops_the_start() {
    let web = Web::new();
    std::fs::write(web.components().join("hello.wasm"), component("hello")).expect("a file");
    let start = |flag: &str| web.galleria("hello").argument(flag).fail().stderr;
    let said = start("--verify-images=none.yaml");
    assert!(
        said.contains("cannot read --verify-images `none.yaml`"),
        "{said}"
    );
    let said = start(&flag(&web, "kind: ClusterImagePolicy"));
    assert!(said.contains("cannot use --verify-images"), "{said}");
    assert!(
        said.contains("`ClusterImagePolicy` of `` is not a policy"),
        "{said}"
    );
}
