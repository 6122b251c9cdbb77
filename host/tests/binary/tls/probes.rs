//! Probes of other implementations: what OpenSSL can negotiate, one offer at a time, and
//! whether curl and Chromium accept what the gateway presents.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use sha2::{Digest, Sha256};

use super::authority::{Authority, Identity};
use super::{RSA_KEY, behind, echo_behind, server, start, tls_secret};
use crate::support::Host;

const SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Without forward secrecy, without authenticated encryption, or with another key exchange.
const REFUSED_SUITES: [&str; 8] = [
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-CCM",
    "DHE-RSA-AES128-GCM-SHA256",
    "aNULL",
];

/// A gateway for `a.example.com` and `*.example.com`, the first with two certificates.
fn gateway(authority: &Authority) -> (Host, tempfile::TempDir) {
    let rsa = KeyPair::from_pem_and_sign_algo(RSA_KEY, &PKCS_RSA_SHA256).expect("a key");
    let names = ["a.example.com"];
    let yaml = tls_secret("ecdsa", &authority.issue(&names))
        + &tls_secret("rsa", &authority.issue_for(&names, 2, &rsa))
        + &tls_secret("wild", &authority.issue(&["*.example.com"]))
        + &echo_behind(
            &(server(
                443,
                "[a.example.com]",
                "{mode: SIMPLE, credentialNames: [ecdsa, rsa]}",
            ) + &server(
                443,
                "['*.example.com']",
                "{mode: SIMPLE, credentialName: wild}",
            )),
        );
    start(&yaml)
}

/// What OpenSSL prints about a handshake with these options, after which it sends `input`.
fn openssl(address: &str, options: &[&str], input: &str) -> String {
    let client = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .args(["-servername", "a.example.com"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut client = client.expect("openssl; install it with `apt-get install openssl`");
    let mut stdin = client.stdin.take().expect("its input");
    if !input.is_empty() {
        // It reads commands only once the handshake is complete.
        std::thread::sleep(Duration::from_millis(500));
        stdin.write_all(input.as_bytes()).expect("its input");
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(stdin);
    let output = client.wait_with_output().expect("openssl ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn negotiates(address: &str, options: &[&str]) -> bool {
    let printed = openssl(address, options, "");
    printed.contains("Cipher is ") && !printed.contains("Cipher is (NONE)")
}

#[test]
fn each_version_suite_and_group_is_negotiated_or_refused() {
    let (host, _folder) = gateway(&Authority::new());
    let address = host.listener(443);
    let offers = |options: &[&str]| negotiates(&address, options);
    for (version, is_accepted) in [
        ("-tls1", false),
        ("-tls1_1", false),
        ("-tls1_2", true),
        ("-tls1_3", true),
    ] {
        // Otherwise OpenSSL itself would refuse the old versions.
        let options = [version, "-cipher", "DEFAULT:@SECLEVEL=0"];
        assert_eq!(offers(&options), is_accepted, "{version}");
    }
    for suite in SUITES.into_iter().chain(REFUSED_SUITES) {
        let is_accepted = SUITES.contains(&suite);
        let suite = format!("{suite}:@SECLEVEL=0");
        assert_eq!(
            offers(&["-tls1_2", "-cipher", &suite]),
            is_accepted,
            "{suite}"
        );
    }
    for (suite, is_accepted) in [
        ("TLS_AES_128_GCM_SHA256", true),
        ("TLS_AES_256_GCM_SHA384", true),
        ("TLS_CHACHA20_POLY1305_SHA256", true),
        ("TLS_AES_128_CCM_SHA256", false),
        ("TLS_AES_128_CCM_8_SHA256", false),
    ] {
        assert_eq!(
            offers(&["-tls1_3", "-ciphersuites", suite]),
            is_accepted,
            "{suite}"
        );
    }
    for (group, is_accepted) in [
        ("X25519", true),
        ("P-256", true),
        ("P-384", true),
        ("P-521", false),
    ] {
        assert_eq!(offers(&["-groups", group]), is_accepted, "{group}");
    }
}

#[test]
fn sessions_are_resumed_by_tickets_only_and_never_renegotiated() {
    let (host, _folder) = gateway(&Authority::new());
    let address = host.listener(443);
    // OpenSSL connects again five times with the session of the first connection.
    let kinds = |options: &[&str]| {
        let printed = openssl(&address, options, "");
        let count = |kind: &str| {
            printed
                .lines()
                .filter(|line| line.starts_with(kind))
                .count()
        };
        (count("New, TLSv1.2"), count("Reused, TLSv1.2"))
    };
    assert_eq!(kinds(&["-tls1_2", "-reconnect"]), (1, 5));
    assert_eq!(kinds(&["-tls1_2", "-reconnect", "-no_ticket"]), (6, 0));

    let printed = openssl(&address, &["-tls1_2", "-msg"], "R\n");
    assert!(printed.contains("RENEGOTIATING"), "{printed}");
    let hellos = |from: &str| {
        let lines = printed.lines().filter(|line| line.starts_with(from));
        lines.filter(|line| line.ends_with("Hello")).count()
    };
    assert_eq!((hellos(">>>"), hellos("<<<")), (2, 1), "{printed}");
    let printed = openssl(&address, &["-tls1_2"], "");
    assert!(printed.contains("Compression: NONE"), "{printed}");
    assert!(printed.contains("Extended master secret: yes"), "{printed}");
}

#[test]
fn curl_accepts_the_certificate_of_each_name_and_no_other() {
    let authority = Authority::new();
    let (host, folder) = gateway(&authority);
    let (trusted, foreign) = (
        folder.path().join("ca.txt"),
        folder.path().join("other.txt"),
    );
    fs::write(&trusted, authority.pem()).expect("a file");
    fs::write(&foreign, Authority::new().pem()).expect("a file");
    let address = host.listener(443);
    // The exit codes of curl: 35 is a failed handshake, 60 a certificate that it refuses.
    let rows: [(_, _, &[&str], _); 7] = [
        (
            "a.example.com",
            &trusted,
            &["--http1.1", "--tlsv1.3"],
            "0 200 1.1",
        ),
        (
            "a.example.com",
            &trusted,
            &["--http2", "--tlsv1.2"],
            "0 200 2",
        ),
        (
            "b.example.com",
            &trusted,
            &["--http2", "--tlsv1.2"],
            "0 200 2",
        ),
        // The certificate has no such name.
        (
            "b.c.example.com",
            &trusted,
            &["--http2", "--tlsv1.2"],
            "60 000 0",
        ),
        (
            "elsewhere.org",
            &trusted,
            &["--http2", "--tlsv1.2"],
            "35 000 0",
        ),
        // Another authority with the same name.
        (
            "a.example.com",
            &foreign,
            &["--http2", "--tlsv1.2"],
            "35 000 0",
        ),
        (
            "a.example.com",
            &trusted,
            &["--http1.1", "--tls-max", "1.1"],
            "35 000 0",
        ),
    ];
    for (name, authorities, options, expected) in rows {
        let output = Command::new("curl")
            .args(["--silent", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code} %{http_version}"])
            .arg("--cacert")
            .arg(authorities)
            .args(["--connect-to", &format!("{name}:443:{address}")])
            .args(options)
            .arg(format!("https://{name}/app/"))
            .output()
            .expect("curl; install it with `apt-get install curl`");
        let code = output.status.code().expect("it exits");
        let shown = format!("{code} {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(shown, expected, "{name} {options:?}");
    }
}

/// The hash of a certificate's key, by which Chromium trusts it.
fn public_key_hash(identity: &Identity) -> String {
    let key = KeyPair::from_pem(&identity.key).expect("a key");
    STANDARD.encode(Sha256::digest(
        rcgen::PublicKeyData::subject_public_key_info(&key),
    ))
}

#[test]
fn chromium_loads_a_page_over_http2_and_refuses_an_unknown_authority() {
    let identity = Authority::new().issue(&["a.example.com"]);
    let yaml = tls_secret("s", &identity)
        + &behind(
            "hello",
            &server(443, "[a.example.com]", "{mode: SIMPLE, credentialName: s}"),
        );
    let (host, folder) = start(&yaml);
    let (address, port) = {
        let address = host.listener(443);
        let (_, port) = address.split_once(':').expect("a port");
        let port = port.to_owned();
        (address, port)
    };
    let load = |trust: &str| {
        let profile = tempfile::tempdir().expect("a folder");
        let output = Command::new("timeout")
            .args([
                "60",
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--host-resolver-rules=MAP a.example.com 127.0.0.1")
            .arg(format!("--ignore-certificate-errors-spki-list={trust}"))
            .arg("--dump-dom")
            .arg(format!("https://a.example.com:{port}/app/"))
            .output()
            .expect("chromium; install it with `apt-get install chromium`");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    let (page, errors) = load(&public_key_hash(&identity));
    assert!(page.contains("hello"), "{address}: {page} {errors}");
    let line = host.call("the call is logged", |line| {
        line["requested_server_name"] == "a.example.com"
    });
    assert_eq!(line["protocol"], "HTTP/2", "{line}");
    let (page, errors) = load("");
    assert!(!page.contains("hello"), "{page}");
    assert!(errors.contains("ERR_CERT_AUTHORITY_INVALID"), "{errors}");
    drop(folder);
}
