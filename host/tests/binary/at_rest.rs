//! Secrets at rest: objects from the API, and Secrets in manifest files.

use std::path::Path;
use std::process::Command;

use crate::support::{Galleria, Host, Service, kubectl, kubectl_fed, manifests};

/// A value that does not occur by chance, and its base64 form without padding.
const NEEDLE: &str = "tr0ub4dor-and-4";
const ENCODED: &str = "dHIwdWI0ZG9yLWFuZC00";

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: test}\n\
                      stringData: {password: tr0ub4dor-and-4}\n";

/// Keys of 32 bytes.
const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TWO: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn configuration(file: &Path, providers: &str) {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
         resources: [{{resources: [secrets], providers: [{providers}]}}]\n"
    );
    std::fs::write(file, text).expect("a file");
}

fn keys(provider: &str, keys: &[(&str, &str)]) -> String {
    let keys = keys.iter();
    let keys = keys.map(|(name, secret)| format!("{{name: {name}, secret: '{secret}'}}"));
    format!(
        "{{{provider}: {{keys: [{}]}}}}",
        keys.collect::<Vec<_>>().join(", ")
    )
}

/// Everything that the store of objects has on disk.
fn stored(data: &Path) -> String {
    let files = ["objects.db", "objects.db-wal", "objects.db-shm"];
    let bytes = files
        .iter()
        .filter_map(|file| std::fs::read(data.join(file)).ok());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>().concat()).into_owned()
}

#[track_caller]
fn has_secret(host: &Host) {
    let password = [
        "get",
        "secret",
        "login",
        "-n",
        "test",
        "-o",
        "jsonpath={.data.password}",
    ];
    assert_eq!(kubectl(host, &password), ENCODED);
}

fn galleria(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(arguments)
        .output()
        .expect("the galleria binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn secrets_from_the_api_are_encrypted_and_keys_are_rotated_by_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, keys_file) = (
        folder.path().join("test.yaml"),
        folder.path().join("keys.yaml"),
    );
    std::fs::write(&file, manifests(&[Service::new("hello", "hello")])).expect("a file");
    let data = folder.path().join("data");
    let start = || {
        let flag = keys_file.to_str().expect("text");
        Galleria::run(&file)
            .data(&data)
            .arguments(&["--encryption-provider-config", flag])
    };
    let identity = "{identity: {}}";

    let host = Galleria::run(&file).data(&data).start();
    kubectl_fed(&host, &["create"], SECRET);
    drop(host);
    assert!(stored(&data).contains(NEEDLE), "there is no key yet");

    let first = keys("aescbc", &[("one", ONE)]);
    configuration(&keys_file, &first);
    let failed = start().fail();
    let plain = "cannot read Secret test/login in `objects.db`";
    assert!(failed.stderr.contains(plain), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("`identity: {}`"),
        "{}",
        failed.stderr
    );

    // Each row is what the configuration has at a restart, and how the value is stored then.
    let second = keys("secretbox", &[("two", TWO)]);
    let rows = [
        (format!("{first}, {identity}"), "k8s:enc:aescbc:v1:one:"),
        (format!("{second}, {first}"), "k8s:enc:secretbox:v1:two:"),
        (second.clone(), "k8s:enc:secretbox:v1:two:"),
        (
            format!("{}, {second}", keys("aesgcm", &[("three", ONE)])),
            "k8s:enc:aesgcm:v1:three:",
        ),
    ];
    for (providers, prefix) in rows {
        configuration(&keys_file, &providers);
        let host = start().start();
        has_secret(&host);
        drop(host);
        let stored = stored(&data);
        assert!(stored.contains(prefix), "{prefix}");
        assert_eq!(
            stored.matches("k8s:enc:").count(),
            stored.matches(prefix).count()
        );
        for plain in [NEEDLE, ENCODED] {
            assert!(!stored.contains(plain), "{prefix}: {plain} is on the disk");
        }
    }

    for (providers, why) in [
        (second, "with the key `three`, which"),
        (
            keys("aesgcm", &[("three", TWO)]),
            "cannot decrypt it with the key `three`",
        ),
    ] {
        configuration(&keys_file, &providers);
        let failed = start().fail();
        assert_eq!(failed.code, Some(1));
        assert!(
            failed.stderr.contains("Secret test/login"),
            "{}",
            failed.stderr
        );
        assert!(failed.stderr.contains(why), "{}", failed.stderr);
    }
    let without = Galleria::run(&file).data(&data).fail();
    assert!(without.stderr.contains("`three`"), "{}", without.stderr);

    configuration(&keys_file, &keys("aesgcm", &[("three", ONE)]));
    let host = start().start();
    has_secret(&host);
}

#[test]
fn values_of_a_secret_in_a_file_are_encrypted_for_the_host() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (plain, keys_file) = (path("plain.yaml"), path("keys.yaml"));
    let (sealed, decrypted) = (path("shop/secret.yaml"), path("decrypted.yaml"));
    std::fs::create_dir(folder.path().join("shop")).expect("a folder");
    std::fs::write(&plain, SECRET).expect("a file");
    let hello = manifests(&[Service::new("hello", "hello")]);
    std::fs::write(path("shop/hello.yaml"), hello).expect("a file");
    configuration(
        keys_file.as_ref(),
        &keys("aesgcm", &[("one", "env:GALLERIA_TEST_KEY")]),
    );
    let flag = ["--encryption-provider-config", &keys_file];

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
            .args(arguments)
            .args(flag)
            .env("GALLERIA_TEST_KEY", ONE)
            .output()
            .expect("the galleria binary");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let encrypted = run(&["secrets", "encrypt", &plain]);
    assert!(
        !encrypted.contains(NEEDLE) && !encrypted.contains(ENCODED),
        "{encrypted}"
    );
    // The base64 of `k8s:enc:aesgcm:v1:one:`.
    assert!(
        encrypted.contains("azhzOmVuYzphZXNnY206djE6b25lO"),
        "{encrypted}"
    );
    std::fs::write(&sealed, &encrypted).expect("a file");
    let back = run(&["secrets", "decrypt", &sealed]);
    assert!(back.contains(ENCODED), "{back}");
    std::fs::write(&decrypted, back).expect("a file");

    run(&["check", &path("shop")]);
    let (code, out, _) = galleria(&["check", &path("shop")]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("Secret/login: data.password: it is encrypted"),
        "{out}"
    );
    assert!(out.contains("with the key `one`"), "{out}");

    let host = Galleria::run(path("shop"))
        .arguments(&flag)
        .env("GALLERIA_TEST_KEY", ONE)
        .start();
    has_secret(&host);
    assert!(!host.stderr().contains(NEEDLE) && !host.stdout().contains(ENCODED));

    // A value is bound to its Secret.
    let moved = encrypted.replace("\"login\"", "\"other\"");
    std::fs::write(&sealed, moved).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(["check", &path("shop")])
        .args(flag)
        .env("GALLERIA_TEST_KEY", ONE)
        .output()
        .expect("the galleria binary");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(out.contains("belongs to another object"), "{out}");
}

#[test]
fn a_host_that_others_can_reach_warns_without_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("hello", "hello")])).expect("a file");
    let path = file.to_str().expect("text");
    let warning = "Secrets from the API are stored in plain text";
    let (_, _, local) = galleria(&["check", path]);
    assert!(!local.contains(warning), "{local}");
    let (code, _, open) = galleria(&["check", path, "--bind", "0.0.0.0"]);
    assert_eq!(code, Some(0));
    assert!(open.contains(warning), "{open}");
    let keys_file = folder.path().join("keys.txt");
    configuration(&keys_file, &keys("aescbc", &[("one", ONE)]));
    let flag = [
        "--encryption-provider-config",
        keys_file.to_str().expect("text"),
    ];
    let with_keys = ["check", path, "--bind", "0.0.0.0", flag[0], flag[1]];
    let (_, _, encrypted) = galleria(&with_keys);
    assert!(!encrypted.contains(warning), "{encrypted}");
    let host = Galleria::run(&file)
        .arguments(&["--bind", "0.0.0.0"])
        .start();
    assert!(host.stderr().contains(warning), "{}", host.stderr());
}
