//! Which policies cover an image, what they demand, and what is wrong with them.

use super::*;

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {{name: shop}}
spec: {spec}
"
    )
}

fn key(pem: &str) -> String {
    format!("{{key: {{data: {}}}}}", serde_json::json!(pem))
}

fn with(authorities: &str) -> String {
    policy(&format!(
        "{{images: [{{glob: '**'}}], authorities: [{authorities}]}}"
    ))
}

/// Asks about an image that is signed with the first key.
fn is_started(text: &str) -> bool {
    let policies = policies(text).expect(text);
    verify(&policies, DIGEST, vec![signed(KEYS[0].1)]).is_ok()
}

#[test]
fn every_policy_and_one_of_its_authorities_must_be_satisfied() {
    let [(ours, ..), (theirs, ..), (third, ..)] = KEYS;
    let (ours, theirs, third) = (key(ours), key(theirs), key(third));
    for (text, expected) in [
        (with(&ours), true),
        (with(&theirs), false),
        (with(&format!("{theirs}, {ours}")), true),
        (with(&format!("{theirs}, {third}")), false),
        (format!("{}---\n{}", with(&ours), with(&theirs)), false),
        (format!("{}---\n{}", with(&ours), with(&ours)), true),
        (with("{static: {action: pass}}"), true),
        (with("{static: {action: fail, message: none}}"), false),
        (with(&theirs).replace("**", "other/**"), true),
        (
            with(&theirs).replace("**", "registry.example/shop/*"),
            false,
        ),
        (
            with(&theirs).replace("spec: {", "spec: {mode: warn, "),
            true,
        ),
        (
            with(&theirs).replace("spec: {", "spec: {mode: enforce, "),
            false,
        ),
        (with(&both_keys().to_string()), true),
    ] {
        assert_eq!(is_started(&text), expected, "{text}");
    }
}

fn both_keys() -> String {
    key(&format!("{}{}", KEYS[1].0, KEYS[0].0))
}

#[test]
fn key_can_be_in_a_secret_of_the_same_files() {
    let pem = serde_json::json!(P256);
    let encoded = BASE64_STANDARD.encode(P256);
    let text = with("{key: {secretRef: {name: cosign}}}");
    for data in [
        format!("stringData: {{cosign.pub: {pem}}}"),
        format!("data: {{cosign.pub: {encoded}}}"),
    ] {
        let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: cosign}}\n{data}\n");
        assert!(is_started(&format!("{text}---\n{secret}")));
    }
    let missing = policies(&text).expect_err("no Secret");
    assert!(missing.contains("there is no Secret `cosign`"), "{missing}");
}

#[test]
fn refusal_names_the_policy_its_file_each_authority_and_what_to_do() {
    let named = key(KEYS[1].0).replace("{key:", "{name: release, key:");
    let policies = policies(&with(&format!(
        "{named}, {{static: {{action: fail, message: no}}}}"
    )));
    let refused = verify(
        &policies.expect("a policy"),
        DIGEST,
        vec![signed(KEYS[0].1)],
    );
    assert_eq!(
        refused.expect_err("the wrong key"),
        "policy `shop` in `policy.yaml` refuses it: authority `release`: none of 1 signatures is valid, the last one because it is not made with this key; sign it; authority `authority-1`: no image passes: no"
    );
}

#[test]
fn policy_that_cannot_be_enforced_whole_is_an_error() {
    let ours = key(P256);
    let keyless = "{keyless: {url: https://fulcio.example, identities: [{issuer: a, subject: b}]}}";
    for (text, expected) in [
        (String::new(), "has no ClusterImagePolicy"),
        ("kind: Pod".into(), "is not a policy"),
        ("a: [".into(), "cannot be read"),
        (with(""), "needs `images` and `authorities`"),
        (
            policy(&format!("{{authorities: [{ours}]}}")),
            "needs `images` and `authorities`",
        ),
        (
            policy(&format!(
                "{{images: [{{glob: 'a b'}}], authorities: [{ours}]}}"
            )),
            "`a b` is not a pattern",
        ),
        (with("{}"), "exactly one of `key`, `keyless` and `static`"),
        (
            with("{key: {data: x}, static: {action: pass}}"),
            "exactly one of",
        ),
        (with("{key: {data: x}}"), "not a public key in PEM"),
        (with("{key: {}}"), "either `data` or `secretRef`"),
        (with("{key: {kms: 'gcpkms://x'}}"), "unknown field `kms`"),
        (
            with(&ours.replace("{key: {", "{key: {hashAlgorithm: sha512, ")),
            "only the hash algorithm `sha256`",
        ),
        (
            with(&ours.replace("{key:", "{attestations: [], key:")),
            "unknown field `attestations`",
        ),
        (
            with(&ours.replace("{key:", "{source: [], key:")),
            "unknown field `source`",
        ),
        (
            with(&ours.replace("{key:", "{signatureFormat: bundle, key:")),
            "only signatures of the format `legacy`",
        ),
        (
            with(&ours.replace("{key:", "{ctlog: {url: 'https://x'}, key:")),
            "`ctlog.url` is not contacted",
        ),
        (
            with(&ours.replace("{key:", "{ctlog: {trustRootRef: x}, key:")),
            "there is no TrustRoot `x`",
        ),
        (
            with(&ours).replace("spec: {", "spec: {policy: {}, "),
            "unknown field `policy`",
        ),
        (
            with(&ours).replace("spec: {", "spec: {match: [], "),
            "unknown field `match`",
        ),
        (
            with(&ours).replace("spec: {", "spec: {mode: x, "),
            "mode `x` is neither",
        ),
        (with("{static: {action: x}}"), "action `x` is neither"),
        (with(keyless), "state `insecureIgnoreSCT: true`"),
        (
            with(&keyless.replace("url:", "insecureIgnoreSCT: true, url:")),
            "it needs certificates of Fulcio",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n".into(),
            "it is a private key",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(),
            "not a public key in PEM",
        ),
    ] {
        let said = policies(&text).expect_err(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}
