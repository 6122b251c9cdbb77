//! `galleria ca`, and a host with the authority that it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Galleria, eventually};

fn ca(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .arg("ca")
        .args(arguments)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn succeeds(arguments: &[&str]) -> String {
    let (code, out, error) = ca(arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{arguments:?}");
    out
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn commands_make_show_and_rotate_an_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let [root, host, envoy] = ["root", "host", "envoy"].map(|it| path(folder.path(), it));
    let made = succeeds(&["init", &root]);
    assert!(
        made.contains("ca-cert.pem") && made.contains("root-cert.pem"),
        "{made}"
    );
    assert!(made.contains("has the key of the root"), "{made}");
    assert_eq!(succeeds(&["show", &root]), made);
    let intermediate = succeeds(&["intermediate", &root, "--out", &host]);
    assert!(
        intermediate.contains("does not have the key"),
        "{intermediate}"
    );
    let issued = succeeds(&["issue", &host, "shop", "ui", "--out", &envoy]);
    let id = "spiffe://cluster.local/ns/shop/sa/ui";
    assert!(issued.contains(id), "{issued}");
    let other = path(folder.path(), "other");
    let trust_domain = ["--trust-domain", "shop.example"];
    let arguments = ["issue", &host, "shop", "ui", "--out", &other];
    let issued = succeeds(&[&arguments[..], &trust_domain].concat());
    assert!(
        issued.contains("spiffe://shop.example/ns/shop/sa/ui"),
        "{issued}"
    );
    assert!(made.contains("days left"), "{made}");
    for file in [
        "root/root-key.pem",
        "root/ca-key.pem",
        "host/ca-key.pem",
        "envoy/key.pem",
    ] {
        let metadata = fs::metadata(folder.path().join(file)).expect(file);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let (chain, trusted) = (
        path(folder.path(), "envoy/cert-chain.pem"),
        path(folder.path(), "envoy/root-cert.pem"),
    );
    let verify = Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-CAfile",
            &trusted,
            "-untrusted",
            &chain,
            &chain,
        ])
        .output()
        .expect("openssl");
    assert!(verify.status.success(), "{verify:?}");
    for (step, next) in [
        ("add", "rotate switch"),
        ("switch", "rotate drop"),
        ("drop", ""),
    ] {
        let shown = succeeds(&["rotate", step, &root]);
        assert!(shown.contains(next), "{shown}");
        assert_eq!(next.is_empty(), !shown.contains("Rotation"), "{shown}");
    }
}

#[test]
fn wrong_use_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let [made, empty, other, out] =
        ["made", "empty", "other", "out"].map(|it| path(folder.path(), it));
    succeeds(&["init", &made]);
    fs::create_dir(&empty).expect("a folder");
    fs::create_dir(&other).expect("a folder");
    fs::write(folder.path().join("other/letter.txt"), "hello").expect("a file");
    let absent = path(folder.path(), "absent");
    for (arguments, code, reason) in [
        (
            &["init", made.as_str()][..],
            1,
            "already has a certificate authority",
        ),
        (
            &["init", &other],
            1,
            "has files, but no certificate authority",
        ),
        (&["show", &empty], 1, "galleria ca init"),
        (&["show", &absent], 1, "cannot read the folder"),
        (
            &["issue", &made, "shop", "a/b", "--out", &out],
            1,
            "not the names of",
        ),
        (
            &["issue", &made, "shop", "ui", "--out", &made],
            1,
            "choose another folder for --out",
        ),
        (
            &["issue", &made, "shop", "ui", "--out", &out, "--ttl", "1m"],
            2,
            "at least 5m",
        ),
        (&["issue", &made, "shop", "ui"], 2, "--out"),
        (
            &["intermediate", &made, "--out", &made],
            1,
            "choose another folder for --out",
        ),
        (&["rotate", "drop", &made], 1, "galleria ca rotate add"),
        (&["rotate", &made], 2, "unrecognized subcommand"),
    ] {
        let (status, _, error) = ca(arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn host_makes_an_authority_and_follows_its_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = path(folder.path(), "ca");
    let host = Galleria::shop().arguments(&["--ca-dir", &made]).start();
    let trusted = |roots: f64| {
        eventually("the roots are trusted", || {
            (host.metric("galleria_trusted_roots", &[]) == roots).then_some(())
        });
    };
    trusted(1.0);
    succeeds(&["rotate", "add", &made]);
    trusted(2.0);
    for file in ["ca-cert.pem", "root-cert.pem"] {
        let label = format!("certificate=\"{made}/{file}\"");
        let expiry = host.metric("galleria_certificate_expiry_timestamp_seconds", &[&label]);
        assert!(expiry > 1e9, "{file}: {expiry}");
    }
}

#[test]
fn authority_that_expires_soon_is_an_event_of_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let [key, certificate, roots] =
        ["ca-key.pem", "ca-cert.pem", "root-cert.pem"].map(|it| path(folder.path(), it));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "3"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args([
            "-subj",
            "/CN=soon",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    fs::copy(&certificate, &roots).expect("a copy");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
    let authority = path(folder.path(), "");
    let shown = succeeds(&["show", &authority]);
    assert!(shown.contains("EXPIRES IN 2 DAYS"), "{shown}");
    let host = Galleria::shop()
        .arguments(&["--ca-dir", &authority])
        .start();
    let event = eventually("an event", || {
        let mut events = host.objects("Event").into_iter();
        events.find(|it| it["reason"] == "CertificateExpiresSoon")
    });
    assert_eq!(event["involvedObject"]["kind"], "Node");
    let message = event["message"].as_str().expect("text");
    assert!(message.contains("-cert.pem expires on"), "{message}");
    assert!(host.stderr().contains("replace the files"));
}
