//! Signatures of short-lived certificates, with an authority and a log of the test's own.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType, date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::public_key::hexadecimal;
use super::*;

/// Noon of the only day on which certificates are valid, in seconds since 1970.
const NOON: i64 = 1_704_110_400;
const DAY: i64 = 86_400;

const SUBJECT: &str = "ann@shop.example";
const ISSUER: &str = "https://accounts.shop.example";

/// A key pair, and its public key in PEM.
pub(super) fn key_pair() -> (EcdsaKeyPair, String) {
    let pair = KeyPair::generate().expect("a key");
    (signing(&pair), pair.public_key_pem())
}

fn signing(pair: &KeyPair) -> EcdsaKeyPair {
    let pkcs8 = pair.serialize_der();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &SystemRandom::new()).expect("a key")
}

pub(super) fn sign(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    let signature = pair.sign(&SystemRandom::new(), message);
    signature.expect("a signature").as_ref().to_vec()
}

/// An authority: a root, and an intermediate that issues certificates.
struct Fulcio {
    root: String,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Fulcio {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let name = (rcgen::DnType::CommonName, name);
            parameters.distinguished_name.push(name.0, name.1);
            parameters
        };
        let key = KeyPair::generate().expect("a key");
        let parameters = authority("root");
        let root = parameters.self_signed(&key).expect("a certificate");
        let root_issuer = Issuer::new(parameters, key);
        let key = KeyPair::generate().expect("a key");
        let mut parameters = authority("intermediate");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let intermediate = parameters.signed_by(&key, &root_issuer);
        Self {
            root: root.pem(),
            intermediate: intermediate.expect("a certificate").pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate that is valid for one day.
    fn issue(&self, key: &KeyPair, usage: Option<ExtendedKeyUsagePurpose>) -> String {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        let email = SUBJECT.try_into().expect("an address");
        parameters.subject_alt_names = vec![SanType::Rfc822Name(email)];
        parameters.not_before = date_time_ymd(2024, 1, 1);
        parameters.not_after = date_time_ymd(2024, 1, 2);
        parameters.extended_key_usages = usage.into_iter().collect();
        let mut text = vec![0x0c, u8::try_from(ISSUER.len()).expect("a short name")];
        text.extend(ISSUER.as_bytes());
        let old = ISSUER.as_bytes().to_vec();
        parameters.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], old),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], text),
        ];
        let certificate = parameters.signed_by(key, &self.issuer);
        certificate.expect("a certificate").pem()
    }
}

/// Everything from which one signature is made; a test changes a part.
struct Signing {
    payload: Vec<u8>,
    certificate: String,
    chain: String,
    key: EcdsaKeyPair,
    time: i64,
    log: EcdsaKeyPair,
    log_id: String,
    /// What the log has seen, instead of the payload.
    logged: Option<Vec<u8>>,
    has_entry: bool,
}

struct World {
    fulcio: Fulcio,
    log: KeyPair,
}

impl World {
    fn new() -> Self {
        Self {
            fulcio: Fulcio::new(),
            log: KeyPair::generate().expect("a key"),
        }
    }

    fn signing(&self) -> Signing {
        let key = KeyPair::generate().expect("a key");
        let usage = Some(ExtendedKeyUsagePurpose::CodeSigning);
        Signing {
            payload: PAYLOAD.to_vec(),
            certificate: self.fulcio.issue(&key, usage),
            chain: format!("{}{}", self.fulcio.intermediate, self.fulcio.root),
            key: signing(&key),
            time: NOON,
            log: signing(&self.log),
            log_id: hexadecimal(&Sha256::digest(rustls_spki(&self.log))),
            logged: None,
            has_entry: true,
        }
    }

    fn policy(&self, identity: &str) -> String {
        let encoded = |pem: String| BASE64_STANDARD.encode(pem);
        format!(
            "apiVersion: policy.sigstore.dev/v1alpha1
kind: TrustRoot
metadata: {{name: own}}
spec:
  sigstoreKeys:
    certificateAuthorities:
    - {{subject: {{organization: o, commonName: root}}, uri: https://fulcio.example, certChain: {}}}
    tLogs:
    - {{baseURL: https://rekor.example, hashAlgorithm: sha-256, publicKey: {}}}
---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {{name: signed-by-ann}}
spec:
  images: [{{glob: '**'}}]
  authorities:
  - name: ann
    keyless: {{trustRootRef: own, insecureIgnoreSCT: true, identities: [{identity}]}}
    ctlog: {{url: https://rekor.example, trustRootRef: own}}
",
            encoded(self.fulcio.root.clone()),
            encoded(self.log.public_key_pem()),
        )
    }
}

fn rustls_spki(key: &KeyPair) -> Vec<u8> {
    use rustls::pki_types::SubjectPublicKeyInfoDer;
    use rustls::pki_types::pem::PemObject as _;
    let info = SubjectPublicKeyInfoDer::from_pem_slice(key.public_key_pem().as_bytes());
    info.expect("a key").to_vec()
}

impl Signing {
    fn signature(&self) -> Signature {
        let signature = sign(&self.key, &self.payload);
        let encoded = BASE64_STANDARD.encode(&signature);
        let logged = self.logged.as_ref().unwrap_or(&self.payload);
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hexadecimal(&Sha256::digest(logged))}},
                "signature": {
                    "content": encoded,
                    "publicKey": {"content": BASE64_STANDARD.encode(&self.certificate)},
                },
            },
        });
        let body = BASE64_STANDARD.encode(body.to_string());
        let (id, time) = (&self.log_id, self.time);
        // Canonical JSON: sorted, without spaces.
        let entry =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":7}}"#);
        let timestamp = BASE64_STANDARD.encode(sign(&self.log, entry.as_bytes()));
        let bundle = format!(
            r#"{{"SignedEntryTimestamp":"{timestamp}","Payload":{{"body":"{body}","integratedTime":{time},"logIndex":7,"logID":"{id}"}}}}"#
        );
        let mut annotations = vec![
            ("dev.cosignproject.cosign/signature", encoded.as_str()),
            ("dev.sigstore.cosign/certificate", &self.certificate),
            ("dev.sigstore.cosign/chain", &self.chain),
        ];
        if self.has_entry {
            annotations.push(("dev.sigstore.cosign/bundle", &bundle));
        }
        layer(&self.payload, &annotations)
    }
}

#[test]
fn certificate_log_and_identity_must_all_be_right() {
    let world = World::new();
    let stranger = World::new();
    let identity = format!("{{issuer: '{ISSUER}', subject: {SUBJECT}}}");
    let policies = policies(&world.policy(&identity)).expect("a policy");
    type Change<'a> = &'a dyn Fn(&mut Signing);
    let rows: [(&str, Change<'_>, Option<&str>); 12] = [
        ("right", &|_| {}, None),
        ("first second", &|it| it.time = NOON - DAY / 2, None),
        (
            "too late",
            &|it| it.time = NOON + DAY,
            Some("not valid at the time"),
        ),
        (
            "too early",
            &|it| it.time = NOON - DAY,
            Some("not valid at the time"),
        ),
        (
            "before 1970",
            &|it| it.time = -NOON,
            Some("not valid at the time"),
        ),
        (
            "authority",
            &|it| {
                let other = stranger.signing();
                (it.certificate, it.chain, it.key) = (other.certificate, other.chain, other.key);
            },
            Some("not issued by an authority of the policy"),
        ),
        (
            "no chain",
            &|it| it.chain.clear(),
            Some("not issued by an authority"),
        ),
        (
            "log",
            &|it| it.log = stranger.signing().log,
            Some("not signed by that log"),
        ),
        (
            "unknown log",
            &|it| {
                let other = stranger.signing();
                (it.log, it.log_id) = (other.log, other.log_id);
            },
            Some("whose key the policy does not have"),
        ),
        (
            "entry",
            &|it| it.logged = Some(b"x".to_vec()),
            Some("about another signature"),
        ),
        (
            "no entry",
            &|it| it.has_entry = false,
            Some("no entry of a transparency log"),
        ),
        (
            "key",
            &|it| it.key = key_pair().0,
            Some("not made with the key of its certificate"),
        ),
    ];
    for (name, change, expected) in rows {
        let mut signing = world.signing();
        change(&mut signing);
        let verified = verify(&policies, DIGEST, vec![signing.signature()]);
        match expected {
            None => assert_eq!(verified, Ok(()), "{name}"),
            Some(expected) => {
                let refused = verified.expect_err(name);
                assert!(refused.contains(expected), "{name}: {refused}");
            }
        }
    }
}

#[test]
fn certificate_must_be_for_code_signing() {
    let world = World::new();
    let identity = "{issuerRegExp: '.*', subjectRegExp: '.*'}";
    let policies = policies(&world.policy(identity)).expect("a policy");
    for usage in [None, Some(ExtendedKeyUsagePurpose::ClientAuth)] {
        let key = KeyPair::generate().expect("a key");
        let mut made = world.signing();
        made.certificate = world.fulcio.issue(&key, usage);
        made.key = signing(&key);
        let refused = verify(&policies, DIGEST, vec![made.signature()]);
        let refused = refused.expect_err("not for code signing");
        assert!(refused.contains("not for code signing"), "{refused}");
    }
}

#[test]
fn identity_is_compared_or_matched() {
    let world = World::new();
    for (identity, expected) in [
        (format!("{{issuer: '{ISSUER}', subject: {SUBJECT}}}"), true),
        (
            format!("{{issuer: '{ISSUER}', subject: bob@shop.example}}"),
            false,
        ),
        (
            format!("{{issuer: 'https://accounts', subject: {SUBJECT}}}"),
            false,
        ),
        (
            r"{issuerRegExp: '^https://accounts\.', subjectRegExp: '@shop\.example$'}".into(),
            true,
        ),
        (
            r"{issuerRegExp: 'accounts', subjectRegExp: 'ann'}".into(),
            true,
        ),
        (
            r"{issuerRegExp: '^accounts', subjectRegExp: 'ann'}".into(),
            false,
        ),
        (
            format!("{{issuer: x, subject: y}}, {{issuer: '{ISSUER}', subjectRegExp: '^ann@'}}"),
            true,
        ),
    ] {
        let policies = policies(&world.policy(&identity)).expect("a policy");
        let verified = verify(&policies, DIGEST, vec![world.signing().signature()]);
        assert_eq!(verified.is_ok(), expected, "{identity}: {verified:?}");
        if let Err(refused) = verified {
            let said = format!("made by `{SUBJECT}` of `{ISSUER}`");
            assert!(refused.contains(&said), "{refused}");
        }
    }
}

#[test]
fn signature_of_a_key_can_be_required_to_be_in_the_log() {
    let world = World::new();
    let (pair, pem) = key_pair();
    let text = world.policy("{issuer: a, subject: b}");
    let keyless = text.lines().find(|line| line.contains("keyless:"));
    let key = format!("    key: {{data: {}}}", json!(pem));
    let text = text.replace(keyless.expect("the field"), &key);
    let policies = policies(&text).expect("a policy");
    let made = Signing {
        certificate: pem,
        key: pair,
        ..world.signing()
    };
    assert_eq!(verify(&policies, DIGEST, vec![made.signature()]), Ok(()));
    let unlogged = Signing {
        has_entry: false,
        ..made
    };
    let refused = verify(&policies, DIGEST, vec![unlogged.signature()]);
    let refused = refused.expect_err("no entry");
    assert!(
        refused.contains("no entry of a transparency log"),
        "{refused}"
    );
}
