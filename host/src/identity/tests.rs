//! Authorities in memory and in folders, with the time passed in.

mod files;
mod lifecycle;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

use super::folder::{ISTIO, ROOT_KEY};
use super::*;
use crate::settings::identity::TrustSettings;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn settings() -> IdentitySettings {
    IdentitySettings {
        trust: TrustSettings::default(),
        ca_dir: None,
        workload_certificate_ttl: DAY,
    }
}

fn in_memory() -> Arc<Identities> {
    Identities::open(&settings()).expect("an authority")
}

/// A host with the authority in `folder`.
fn host(folder: &Path, now: SystemTime) -> Identities {
    Identities::shared(&settings(), folder, now).expect("an authority")
}

fn id() -> SpiffeId {
    let id = "spiffe://cluster.local/ns/shop/sa/ui";
    id.parse().expect("a SPIFFE ID")
}

/// Whether `verifier` accepts a new certificate of `prover`.
fn accepts(verifier: &Identities, prover: &Identities, now: SystemTime) -> bool {
    let certificate = prover.certificate_at(&id(), now).expect("a certificate");
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(verifier.roots(), provider);
    let verifier = verifier.build().expect("roots");
    let (own, chain) = certificate.cert.split_first().expect("a chain");
    let since = now.duration_since(SystemTime::UNIX_EPOCH).expect("a time");
    let since = UnixTime::since_unix_epoch(since);
    verifier.verify_client_cert(own, chain, since).is_ok()
}

/// An authority in a new folder.
fn made(now: SystemTime) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    init(folder.path(), "cluster.local", now).expect("an authority");
    folder
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect(name)
}

fn write(folder: &TempDir, name: &str, contents: &str) {
    fs::write(folder.path().join(name), contents).expect(name);
}

#[test]
fn certificate_is_renewed_after_half_to_two_thirds_of_its_life() {
    let identities = in_memory();
    let start = SystemTime::now();
    let at = |hours: u32| {
        let certificate = identities.certificate_at(&id(), start + HOUR * hours);
        certificate.expect("a certificate")
    };
    let first = at(0);
    assert!(Arc::ptr_eq(&first, &at(11)));
    let second = at(17);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &at(17 + 11)));
    // A clock that is set back: the certificate is not valid yet.
    assert!(!Arc::ptr_eq(&second, &at(2)));
    assert_eq!(identities.issued(), 3);
}

#[test]
fn certificate_has_the_identity_and_nothing_else() {
    let identities = in_memory();
    let start = SystemTime::now();
    let certificate = identities.certificate_at(&id(), start).expect("one");
    let parsed = authority::parse(&certificate.cert[0]).expect("X.509");
    let names = parsed.subject_alternative_name().expect("valid");
    let names = names.expect("names");
    assert!(names.critical, "the subject is empty");
    assert_eq!(names.value.general_names.len(), 1);
    let name = names.value.general_names[0].to_string();
    assert!(name.contains(id().as_str()), "{name}");
    let usage = parsed.extended_key_usage().expect("valid").expect("usage");
    assert!(usage.value.server_auth && usage.value.client_auth);
    assert!(!parsed.is_ca());
    let valid = authority::validity(&parsed);
    let life = valid.end.duration_since(start).expect("later");
    assert!((DAY - HOUR / 60..=DAY).contains(&life), "{life:?}");
    certificate.keys_match().expect("its key");
}

#[test]
fn identity_of_another_trust_domain_has_no_certificate() {
    let id = "spiffe://example.com/ns/shop/sa/ui".parse();
    let certificate = in_memory().certificate(&id.expect("a SPIFFE ID"));
    let error = certificate.expect_err("no certificate").to_string();
    assert!(error.contains("trust domain `cluster.local`"), "{error}");
}

#[test]
fn hosts_verify_each_other_only_with_a_shared_authority() {
    let now = SystemTime::now();
    let (one, other) = (in_memory(), in_memory());
    assert!(!one.is_shared() && accepts(&one, &one, now));
    assert!(!accepts(&one, &other, now));
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (host(folder.path(), now), host(folder.path(), now));
    assert!(one.is_shared() && accepts(&one, &other, now) && accepts(&other, &one, now));
    for key in [ISTIO.key, ROOT_KEY] {
        let metadata = fs::metadata(folder.path().join(key)).expect("a key");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{key}");
    }
    // A host of its own intermediate.
    let out = tempfile::tempdir().expect("a folder");
    export(folder.path(), out.path(), now).expect("an intermediate");
    assert!(!out.path().join(ROOT_KEY).exists());
    let third = host(out.path(), now);
    assert!(accepts(&third, &one, now) && accepts(&one, &third, now));
}
