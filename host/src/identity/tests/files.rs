//! The files of an authority: their forms, wrong contents, and changes.

use crate::causes::with_causes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_RSA_SHA256};

use super::*;

const RSA_KEY: &str = include_str!("../../../tests/testing/rsa-only-for-tests.key");

/// An authority that signs itself, in PEM.
fn self_signed(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(key).expect("a certificate").pem()
}

#[test]
fn files_of_istio_and_cert_manager_are_read() {
    let now = SystemTime::now();
    let source = made(now);
    let [certificate, key, roots] =
        [ISTIO.certificate, ISTIO.key, ISTIO.roots].map(|name| read(&source, name));
    let chain = certificate.clone() + &roots;
    let alone_key = KeyPair::generate().expect("a key");
    let (alone, alone_key) = (self_signed(&alone_key), alone_key.serialize_pem());
    let rsa_key = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256);
    let rsa = self_signed(&rsa_key.expect("a key"));
    let cases: &[(&str, &[(&str, &str)])] = &[
        (
            "Istio",
            &[
                ("ca-cert.pem", &certificate),
                ("ca-key.pem", &key),
                ("root-cert.pem", &roots),
            ],
        ),
        (
            "Istio with a chain",
            &[
                ("ca-cert.pem", &certificate),
                ("ca-key.pem", &key),
                ("root-cert.pem", &roots),
                ("cert-chain.pem", &chain),
            ],
        ),
        (
            "cert-manager",
            &[
                ("tls.crt", &certificate),
                ("tls.key", &key),
                ("ca.crt", &roots),
            ],
        ),
        (
            "cert-manager with a chain",
            &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &roots)],
        ),
        (
            "signed by itself",
            &[("tls.crt", &alone), ("tls.key", &alone_key)],
        ),
        (
            "signed by itself with an RSA key",
            &[("tls.crt", &rsa), ("tls.key", RSA_KEY)],
        ),
        (
            "signed by itself, in Istio's form",
            &[
                ("ca-cert.pem", &alone),
                ("ca-key.pem", &alone_key),
                ("root-cert.pem", &alone),
            ],
        ),
    ];
    for (case, files) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, contents) in *files {
            write(&folder, name, contents);
        }
        let host = host(folder.path(), now);
        assert!(accepts(&host, &host, now), "{case}");
        let certificate = host.certificate_at(&id(), now).expect("a certificate");
        let intermediates = usize::from(!case.contains("itself"));
        assert_eq!(certificate.cert.len(), 1 + intermediates, "{case}");
    }
}

/// Files to write, or to remove; the file that the error names; and the reason that it gives.
type Case<'a> = (&'a [(&'a str, Option<&'a str>)], &'a str, &'a str);

/// Asserts that an authority with these changes is refused.
fn assert_refused(cases: &[Case<'_>], now: SystemTime) {
    for (changes, file, reason) in cases {
        let folder = made(now);
        for (name, contents) in *changes {
            match contents {
                Some(contents) => write(&folder, name, contents),
                None => fs::remove_file(folder.path().join(name)).expect(name),
            }
        }
        let count = || fs::read_dir(folder.path()).expect("a folder").count();
        let before = count();
        let error = Identities::shared(&settings(), folder.path(), now).err();
        let error = with_causes(&error.expect(reason));
        let file = folder.path().join(file).display().to_string();
        assert!(error.contains(reason), "{error}\n{reason}");
        assert!(
            error.contains(file.trim_end_matches('/')),
            "{error}\n{file}"
        );
        assert!(!error.contains("BEGIN"), "{error}");
        assert_eq!(before, count(), "{reason}: nothing is written");
    }
}

#[test]
#[rustfmt::skip]
fn malformed_and_missing_files_are_refused() {
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_key = "not a PEM file with a private key";
    let no_certificates = "not a PEM file with certificates";
    assert_refused(&[
        (&[("ca-key.pem", Some("nothing"))], "ca-key.pem", no_key),
        (&[("ca-key.pem", Some(encrypted))], "ca-key.pem", no_key),
        (&[("ca-key.pem", None)], "ca-key.pem", "No such file"),
        (&[("ca-cert.pem", None)], "ca-cert.pem", "No such file"),
        (&[("ca-cert.pem", Some("nothing"))], "ca-cert.pem", no_certificates),
        (&[("ca-cert.pem", Some(garbled))], "ca-cert.pem", "no valid X.509 certificate"),
        (&[("cert-chain.pem", Some("nothing"))], "cert-chain.pem", no_certificates),
        (&[("root-cert.pem", Some(""))], "root-cert.pem", no_certificates),
        (&[("root-cert.pem", None)], "root-cert.pem", "is missing; add the root"),
        (&[("tls.crt", Some("x"))], "", "in two forms"),
        (&[("ca-cert.pem", None), ("ca-key.pem", None)], "", "but no certificate authority; use an empty"),
    ], SystemTime::now());
}

#[test]
#[rustfmt::skip]
fn files_that_do_not_belong_together_are_refused() {
    let now = SystemTime::now();
    let other = made(now);
    let leaf = tempfile::tempdir().expect("a folder");
    issue(other.path(), &id(), HOUR, leaf.path(), now).expect("a certificate");
    let (key, root) = (read(&other, ISTIO.key), read(&other, ISTIO.roots));
    let (leaf_chain, leaf_key) = (read(&leaf, "cert-chain.pem"), read(&leaf, "key.pem"));
    let other_key = "does not belong to the certificate";
    let no_authority = "not the certificate of an authority";
    let unverified = "no valid root certificate verifies";
    assert_refused(&[
        (&[("ca-key.pem", Some(&key))], "ca-key.pem", other_key),
        (&[("ca-cert.pem", Some(&root))], "ca-key.pem", other_key),
        (&[("root-cert.pem", Some(&root))], "ca-cert.pem", unverified),
        (&[("root-cert.pem", Some(&leaf_chain))], "root-cert.pem", no_authority),
        (&[("ca-cert.pem", Some(&leaf_chain)), ("ca-key.pem", Some(&leaf_key))], "ca-cert.pem", no_authority),
    ], now);
}

#[test]
fn folder_that_is_not_private_is_refused() {
    let now = SystemTime::now();
    let above = tempfile::tempdir().expect("a folder");
    let folder = above.path().join("open/ca");
    init(&folder, "cluster.local", now).expect("an authority");
    let parent = above.path().join("open");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o777)).expect("a mode");
    let error = Identities::shared(&settings(), &folder, now).err();
    let error = error.expect("refused").to_string();
    assert!(error.contains("other users can write"), "{error}");
}

#[test]
fn unusable_files_keep_the_authority_in_use() {
    let now = SystemTime::now();
    let folder = made(now);
    let host = host(folder.path(), now);
    let changes = host.changes();
    let (key, other) = (read(&folder, ISTIO.key), made(now));
    for contents in [read(&other, ISTIO.key).as_str(), "nonsense", ""] {
        write(&folder, ISTIO.key, contents);
        host.refresh(now);
        assert!(accepts(&host, &host, now));
    }
    fs::remove_file(folder.path().join(ISTIO.certificate)).expect("a file");
    host.refresh(now);
    assert!(!changes.has_changed().expect("open") && accepts(&host, &host, now));
    // Another authority, whole: used.
    for name in [
        ISTIO.certificate,
        ISTIO.roots,
        "cert-chain.pem",
        ROOT_KEY,
        ISTIO.key,
    ] {
        write(&folder, name, &read(&other, name));
    }
    host.refresh(now);
    assert!(changes.has_changed().expect("open") && accepts(&host, &host, now));
    assert_ne!(key, read(&folder, ISTIO.key));
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let now = SystemTime::now();
    let folder = made(now);
    let settings = IdentitySettings {
        ca_dir: Some(folder.path().into()),
        ..settings()
    };
    let identities = Identities::open(&settings).expect("an authority");
    let mut changes = identities.changes();
    rotate(folder.path(), Step::Add, now).expect("a step");
    let changed = tokio::time::timeout(Duration::from_secs(60), changes.changed()).await;
    changed.expect("in time").expect("open");
    assert_eq!(identities.roots().len(), 2);
}
