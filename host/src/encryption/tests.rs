//! The stored bytes are those of Kubernetes. The vectors were made by Python's
//! `cryptography` 48.0.0 (AES, HKDF) and PyNaCl (secretbox), following the sources of
//! Kubernetes for what is concatenated and authenticated.

use std::io::Write;

use super::*;

pub(super) const VALUE: &[u8] = br#"{"data":{"password":"aHVudGVyMg=="}}"#;

/// Each a length of the key, whose bytes are 0, 1, 2, …, its provider and the stored value.
const VECTORS: &[(usize, &str, &str)] = &[
    (
        16,
        "aescbc",
        "azhzOmVuYzphZXNjYmM6djE6a2V5MTpkZWZnaGlqa2xtbm9wcXJzohOWO0yVGhPc9v1wZmo1LcR7fYIvn/x0PTzWciDX3lsbVFDxaAy13vNxN7Lj2KQp",
    ),
    (
        24,
        "aescbc",
        "azhzOmVuYzphZXNjYmM6djE6a2V5MTpkZWZnaGlqa2xtbm9wcXJzEgI7R3Q1ITyR0aW64L9gcbn+A9xeYGiVMb0fC/liUADSEgsAv2bkdt7omejMZac0",
    ),
    (
        32,
        "aescbc",
        "azhzOmVuYzphZXNjYmM6djE6a2V5MTpkZWZnaGlqa2xtbm9wcXJzcnvJr0p9GDOZ9U+gxon/tesOnduc7Z6Z3CM1hm7h3d2QAr0c79sAwrgJUcKleO1A",
    ),
    (
        16,
        "aesgcm",
        "azhzOmVuYzphZXNnY206djE6a2V5MToyMzQ1Njc4OTo7PD3KHGuryJNgUFIu4Wu7dGsXsmecKVaImqi1YJ/47dRRyKeaMgtYG69KeZsjKFmQ9JdsnWtL",
    ),
    (
        32,
        "aesgcm",
        "azhzOmVuYzphZXNnY206djE6a2V5MToyMzQ1Njc4OTo7PD29eYuhsV2j2RYlmuconoiXFNc5u6ss772kfkzOzn78Tx4itzZgIgAtOs2IZuJ7usEwWWU3",
    ),
    (
        32,
        "secretbox",
        "azhzOmVuYzpzZWNyZXRib3g6djE6a2V5MToAAQIDBAUGBwgJCgsMDQ4PEBESExQVFheyuDqLgZ26xvmxtfi/WmQyJd1cLrOrgCrAHv9fG/w9+CDBZOWuRHe5YsYgwiyKxty++Yio",
    ),
];

fn key(name: &str, len: u8) -> String {
    let secret = BASE64_STANDARD.encode((0..len).collect::<Vec<_>>());
    format!("{{name: {name}, secret: {secret}}}")
}

fn keys(provider: &str, keys: &[String]) -> String {
    format!("{{{provider}: {{keys: [{}]}}}}", keys.join(", "))
}

fn document(resources: &str, providers: &[String]) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources: [{{resources: [{resources}], providers: [{}]}}]\n",
        providers.join(", ")
    )
}

fn read(text: &str) -> Result<Encryption, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("a file");
    config::read(file.path())
}

fn with(providers: &[String]) -> Encryption {
    read(&document("secrets", providers)).expect("a valid configuration")
}

fn object(group: &str, kind: &str, name: &str) -> Subject {
    Subject::of(&ObjectKey {
        group: group.into(),
        kind: kind.into(),
        namespace: "test".into(),
        name: name.into(),
    })
}

pub(super) fn login() -> Subject {
    object("", "Secret", "login")
}

#[test]
fn bytes_of_kubernetes_are_decrypted_and_what_is_encrypted_has_their_form() {
    assert_eq!(login().context, "/registry/secrets/test/login");
    for (len, provider, stored) in VECTORS {
        let stored = BASE64_STANDARD.decode(stored).expect("base64");
        let len = u8::try_from(*len).expect("a short key");
        let encryption = with(&[keys(provider, &[key("key1", len)])]);
        let decrypted = encryption.decrypt(&login(), &stored).expect(provider);
        assert_eq!(
            (decrypted.value.as_slice(), decrypted.is_stale),
            (VALUE, false)
        );
        let own = encryption.encrypt(&login(), VALUE).expect(provider);
        assert_eq!(own.len(), stored.len(), "{provider}");
        assert_ne!(
            own, stored,
            "a value is never encrypted twice in the same way"
        );
        assert_eq!(from_text(&to_text(&own)), own, "{provider}");
        let decrypted = encryption.decrypt(&login(), &own).expect(provider);
        assert_eq!(decrypted.value, VALUE);
        for at in 0..own.len() {
            let mut changed = own.clone();
            changed[at] ^= 1;
            let result = encryption.decrypt(&login(), &changed);
            let is_other = result.map_or(true, |it| it.value != VALUE);
            assert!(is_other, "{provider}: byte {at}");
        }
        for len in 0..own.len() {
            let result = encryption.decrypt(&login(), &own[..len]);
            assert!(
                result.map_or(true, |it| it.value != VALUE),
                "{provider}: {len}"
            );
        }
    }
}

#[test]
fn values_of_another_object_are_not_accepted_where_the_provider_can_tell() {
    let encryption = with(&[keys("aesgcm", &[key("key1", 32)])]);
    let stored = encryption.encrypt(&login(), VALUE).expect("encrypted");
    let other = encryption.decrypt(&object("", "Secret", "other"), &stored);
    let failed = DecryptError::Failed {
        provider: "aesgcm".into(),
        key: "key1".into(),
    };
    assert_eq!(other.err(), Some(failed));
}

#[test]
fn keys_are_rotated_by_order() {
    let (old, new) = (key("old", 32), key("new", 16));
    let before = with(&[keys("aescbc", std::slice::from_ref(&old))]);
    let stored = before.encrypt(&login(), VALUE).expect("encrypted");
    let rows: &[(&str, Encryption, Result<bool, &str>)] = &[
        (
            "the same",
            with(&[keys("aescbc", std::slice::from_ref(&old))]),
            Ok(false),
        ),
        (
            "a new first key",
            with(&[keys("aescbc", &[new.clone(), old.clone()])]),
            Ok(true),
        ),
        (
            "a new first provider",
            with(&[
                keys("secretbox", &[key("new", 32)]),
                keys("aescbc", std::slice::from_ref(&old)),
            ]),
            Ok(true),
        ),
        (
            "off again",
            with(&["{identity: {}}".into(), keys("aescbc", &[old])]),
            Ok(true),
        ),
        (
            "without the key",
            with(&[keys("aescbc", std::slice::from_ref(&new))]),
            Err("old"),
        ),
        (
            "another provider",
            with(&[keys("aesgcm", std::slice::from_ref(&new))]),
            Err("old"),
        ),
        (
            "another key of the name",
            with(&[keys("aescbc", &[key("old", 24)])]),
            Err("old"),
        ),
        ("nothing", Encryption::default(), Err("old")),
    ];
    for (what, encryption, expected) in rows {
        match (encryption.decrypt(&login(), &stored), expected) {
            (Ok(read), Ok(is_stale)) => {
                assert_eq!(
                    (read.value.as_slice(), read.is_stale),
                    (VALUE, *is_stale),
                    "{what}"
                );
            }
            // Without authentication, a wrong key may give a value that is not this one.
            (Ok(read), Err(_)) => assert_ne!(read.value, VALUE, "{what}"),
            (Err(error), Err(name)) => {
                assert!(
                    error.to_string().contains(&format!("`{name}`")),
                    "{what}: {error}"
                );
            }
            (Err(error), Ok(_)) => unreachable!("{what}: {error}"),
        }
    }
}

#[test]
fn plain_text_is_accepted_where_identity_is_a_provider() {
    let key = || keys("aescbc", &[key("key1", 32)]);
    let identity = || "{identity: {}}".to_owned();
    for (providers, expected) in [
        (vec![key()], Err(DecryptError::PlainText)),
        (vec![key(), identity()], Ok(true)),
        (vec![identity(), key()], Ok(false)),
        (vec![identity()], Ok(false)),
    ] {
        let read = with(&providers).decrypt(&login(), VALUE);
        assert_eq!(read.map(|it| it.is_stale), expected, "{providers:?}");
    }
    let read = Encryption::default().decrypt(&login(), VALUE);
    assert_eq!(read.map(|it| it.is_stale), Ok(false));
}

#[test]
fn a_rule_is_found_by_resource_and_group() {
    let rows = [
        ("secrets", "", "Secret", true),
        ("secrets", "", "ConfigMap", false),
        ("configmaps, secrets", "", "ConfigMap", true),
        ("'*.'", "", "ConfigMap", true),
        ("'*.'", "apps", "Deployment", false),
        ("'*.apps'", "apps", "Deployment", true),
        ("deployments.apps", "apps", "Deployment", true),
        ("deployments", "apps", "Deployment", false),
        ("'*.*'", "apps", "Deployment", true),
        ("'*.*'", "", "Secret", true),
        ("'*'", "", "Secret", false),
    ];
    for (resources, group, kind, expected) in rows {
        let providers = [keys("aescbc", &[key("key1", 32)])];
        let encryption = read(&document(resources, &providers)).expect(resources);
        let subject = object(group, kind, "a");
        let stored = encryption.encrypt(&subject, VALUE).expect(resources);
        assert_eq!(is_encrypted(&stored), expected, "{resources}: {kind}");
    }
}

#[test]
fn the_first_rule_for_a_resource_decides() {
    let key = keys("aescbc", &[key("key1", 32)]);
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - {{resources: [configmaps], providers: [{{identity: {{}}}}]}}\n\
         - {{resources: ['*.*'], providers: [{key}]}}\n"
    );
    let encryption = read(&text).expect("valid");
    assert!(encryption.protects_secrets());
    let map = encryption.encrypt(&object("", "ConfigMap", "a"), VALUE);
    assert_eq!(map.as_deref(), Ok(VALUE));
}

/// The base64 of [`key`] with 32 bytes.
fn secret() -> String {
    BASE64_STANDARD.encode((0..32).collect::<Vec<u8>>())
}

/// Each a configuration, and a part of its message.
fn malformed_documents() -> Vec<(String, &'static str)> {
    let (valid, secret) = (
        document("secrets", &[keys("aescbc", &[key("key1", 32)])]),
        secret(),
    );
    vec![
        (
            valid.replace("EncryptionConfiguration", "Encryption"),
            "it must be",
        ),
        (
            valid.replace("config.k8s.io/v1", "config.k8s.io/v2"),
            "it must be",
        ),
        (valid.replace("aescbc", "aesctr"), "unknown field `aesctr`"),
        (
            valid.replace("secret:", "secrte:"),
            "unknown field `secrte`",
        ),
        (valid.replace("[secrets]", "[]"), "at least one resource"),
        (valid.replace(&secret, "'no base64!'"), "is not base64"),
        (
            valid.replace(&secret, "env:GALLERIA_NO_SUCH"),
            "needs the variable GALLERIA_NO_SUCH",
        ),
        (valid.replace(&secret, &format!("[{secret}]")), "type"),
        (
            valid.replace("keys: [{", &format!("keys: [{secret}, {{")),
            "type",
        ),
        (format!("{valid}{secret}: ]"), "not one document"),
        (String::new(), "not one document"),
    ]
}

/// Each the providers of a configuration, and a part of its message.
fn malformed_providers() -> Vec<(Vec<String>, &'static str)> {
    let kms =
        |endpoint: &str| format!("{{kms: {{apiVersion: v2, name: a, endpoint: '{endpoint}'}}}}");
    vec![
        (vec![], "at least one resource and one provider"),
        (vec!["{}".into()], "exactly one of"),
        (vec![keys("aescbc", &[])], "aescbc has no keys"),
        (
            vec!["{kms: {name: a, endpoint: b}}".into()],
            "only `apiVersion: v2`",
        ),
        (vec![kms("tcp://x")], "unix:///"),
        (vec![kms("unix:///no/such")], "KMS plugin `a`"),
        (
            vec!["{identity: {}, aescbc: {keys: []}}".into()],
            "aescbc has no keys",
        ),
        (vec![keys("aescbc", &[key("a:b", 32)])], "without colons"),
        (
            vec![keys("aescbc", &[key("key1", 31)])],
            "31 bytes; it must have 16",
        ),
        (vec![keys("aesgcm", &[key("key1", 24)])], "16 or 32"),
        (vec![keys("secretbox", &[key("key1", 16)])], "must have 32"),
        (
            vec![keys("aescbc", &[key("key1", 16), key("key1", 32)])],
            "two keys",
        ),
    ]
}

#[test]
fn malformed_configurations_are_refused_without_showing_a_key() {
    let providers = malformed_providers().into_iter();
    let providers = providers.map(|(providers, why)| (document("secrets", &providers), why));
    for (text, expected) in malformed_documents().into_iter().chain(providers) {
        let error = read(&text).err().expect(&text).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains(&secret()[..8]), "{error}");
        assert!(!error.contains("no base64!"), "{error}");
    }
}

#[test]
fn header_of_a_value_names_its_key() {
    assert_eq!(header(b"k8s:enc:aescbc:v1:key1:..."), ("aescbc", "key1"));
    assert_eq!(header(b"k8s:enc:kms:v2:vault:\xff:"), ("kms", "vault"));
    assert_eq!(header(b"k8s:enc:"), ("", ""));
    assert_eq!(header(b"k8s:enc:\xff:v1:a:"), ("?", "a"));
}
