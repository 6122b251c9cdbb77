//! Signatures that cosign 2.6.5 made (`vectors/`), and policies about them.
//!
//! The vectors are of `cosign sign --tlog-upload=false`, `cosign sign-blob` and keys of
//! openssl that `cosign import-key-pair` imported.

mod keyless;
mod policies;

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_spec::image::Digest;

use super::super::reference::Reference;
use super::*;

/// What cosign signed for the image with the digest [`DIGEST`].
const PAYLOAD: &[u8] = include_bytes!("vectors/payload.json");
const DIGEST: &str = "sha256:1371dfa64c821749116f315ae7bb65fa10411ca06e291572658531ee391f2d83";

/// The file that cosign signed: an empty component.
const BLOB: &[u8] = b"\0asm\r\0\x01\0";

const P256: &str = include_str!("vectors/p256.pub");

/// Each kind of key, with its signatures of [`PAYLOAD`] and of [`BLOB`].
const KEYS: [(&str, &str, &str); 3] = [
    (
        P256,
        include_str!("vectors/p256.image.sig"),
        include_str!("vectors/p256.blob.sig"),
    ),
    (
        include_str!("vectors/p384.pub"),
        include_str!("vectors/p384.image.sig"),
        include_str!("vectors/p384.blob.sig"),
    ),
    (
        include_str!("vectors/rsa.pub"),
        include_str!("vectors/rsa.image.sig"),
        include_str!("vectors/rsa.blob.sig"),
    ),
];

fn policies(text: &str) -> Result<ImagePolicies, String> {
    let file = (PathBuf::from("policy.yaml"), text.as_bytes().to_vec());
    ImagePolicies::read(&[file]).map_err(|error| crate::causes::with_causes(&error))
}

fn image() -> Reference {
    Reference::parse("registry.example/shop/ui:v1").expect("a name")
}

fn layer(payload: &[u8], annotations: &[(&str, &str)]) -> Signature {
    let annotations = annotations.iter();
    let annotations = annotations.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let annotations = annotations.collect::<HashMap<_, _>>();
    Signature::from_layer(payload.to_vec(), &annotations).expect("a signature")
}

fn signed(signature: &str) -> Signature {
    layer(
        PAYLOAD,
        &[("dev.cosignproject.cosign/signature", signature)],
    )
}

/// Asks the policies about an image with these signatures.
fn verify(
    policies: &ImagePolicies,
    digest: &str,
    signatures: Vec<Signature>,
) -> Result<(), String> {
    let digests = [Digest::try_from(digest).expect("a digest")];
    let evidence = Evidence {
        subject: Subject::Manifests(&digests),
        signatures,
        advice: "sign it".into(),
    };
    let verified = policies.verify(&image(), &evidence);
    verified.map_err(|refusal| refusal.to_string())
}

#[test]
fn signatures_of_cosign_are_valid_for_their_image_and_key_only() {
    let other = format!("sha256:{}", "ab".repeat(32));
    for (index, (key, signature, _)) in KEYS.iter().enumerate() {
        let policies = policies(key).expect("a policy");
        let check = |digest: &str, signature| verify(&policies, digest, signature);
        assert_eq!(check(DIGEST, vec![signed(signature)]), Ok(()), "{key}");
        let refused = check(&other, vec![signed(signature)]).expect_err("another image");
        assert!(
            refused.contains("valid, but for another image"),
            "{refused}"
        );
        let refused = check(DIGEST, Vec::new()).expect_err("unsigned");
        assert!(
            refused.contains("there is no signature; sign it"),
            "{refused}"
        );
        let next = KEYS[(index + 1) % KEYS.len()].1;
        let refused = check(DIGEST, vec![signed(next)]).expect_err("another key");
        assert!(refused.contains("not made with this key"), "{refused}");
        assert_eq!(check(DIGEST, vec![signed(next), signed(signature)]), Ok(()));
        let mut altered = signed(signature);
        altered.payload = [PAYLOAD, b" "].concat().into();
        let refused = check(DIGEST, vec![altered]).expect_err("another payload");
        assert!(refused.contains("not made with this key"), "{refused}");
    }
}

#[test]
fn signatures_of_files_are_valid_for_their_content_only() {
    let evidence = |signature| Evidence {
        subject: Subject::Content,
        signatures: vec![signature],
        advice: String::new(),
    };
    for (key, _, signature) in KEYS {
        let policies = policies(key).expect("a policy");
        let of = |content: &[u8]| Signature::from_file(content.into(), signature).expect("base64");
        assert!(
            policies.verify(&image(), &evidence(of(BLOB))).is_ok(),
            "{key}"
        );
        let altered = evidence(of(b"\0asm\x01\0\0\0"));
        assert!(policies.verify(&image(), &altered).is_err(), "{key}");
    }
    let bundle = include_bytes!("vectors/p256.blob.bundle");
    let bundle = Signature::from_bundle(BLOB.into(), bundle).expect("a bundle");
    let policies = policies(P256).expect("a policy");
    assert!(policies.verify(&image(), &evidence(bundle)).is_ok());
}

#[test]
fn document_of_another_type_does_not_vouch_for_an_image() {
    let (pair, pem) = keyless::key_pair();
    let policies = policies(&pem).expect("a policy");
    let document = |kind: &str| {
        format!(
            r#"{{"critical": {{"identity": {{}}, "image": {{"docker-manifest-digest": "{DIGEST}"}}, "type": "{kind}"}}}}"#
        )
    };
    for (document, expected) in [
        (document("cosign container image signature"), true),
        (document("atomic container signature"), false),
        ("no JSON".to_owned(), false),
        ("{}".to_owned(), false),
    ] {
        let signature = BASE64_STANDARD.encode(keyless::sign(&pair, document.as_bytes()));
        let annotations = [("dev.cosignproject.cosign/signature", signature.as_str())];
        let signature = layer(document.as_bytes(), &annotations);
        let verified = verify(&policies, DIGEST, vec![signature]);
        assert_eq!(verified.is_ok(), expected, "{document}: {verified:?}");
    }
}

#[test]
fn malformed_layers_are_not_signatures() {
    let bundle = "dev.sigstore.cosign/bundle";
    let name = "dev.cosignproject.cosign/signature";
    for annotations in [
        vec![],
        vec![(name, "")],
        vec![(name, "not base64!")],
        vec![(name, "AAAA"), (bundle, "{}")],
        vec![(name, "AAAA"), (bundle, "no JSON")],
    ] {
        let owned = annotations.iter();
        let owned = owned.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = Signature::from_layer(PAYLOAD.to_vec(), &owned.collect());
        assert!(read.is_err(), "{annotations:?}");
    }
}
