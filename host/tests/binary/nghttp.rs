//! nghttp2's client as a peer: HTTP/2 by another implementation, with frames that others rarely
//! send.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Galleria, Host, Service, manifests};

/// A client that gives up after a while.
fn nghttp(host: &Host, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://{}{path}", host.listener(80));
    let output = Command::new("nghttp")
        .args(["--timeout=20s", "--header=:authority: shop.test"])
        .args(arguments)
        .arg(url)
        .output()
        .expect("nghttp of the package nghttp2-client");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{text}{errors}");
    text + &errors
}

fn answers(output: &str, status: &str) -> usize {
    let line = format!(":status: {status}");
    output.lines().filter(|it| it.ends_with(&line)).count()
}

#[test]
fn client_of_nghttp2_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = manifests(&[Service::new("echo", "echo")]);
    fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
    let body = folder.path().join("body");
    fs::write(&body, "0123456789".repeat(20_000)).expect("a file");
    let host = Galleria::run(folder.path()).start();
    for (arguments, count) in [
        (&[][..], 1),
        (&["--no-dep", "--no-rfc7540-pri"], 1),
        // Many streams of one connection, a few at once.
        (&["--multiply=50", "--peer-max-concurrent-streams=3"], 50),
        // Padding, and windows that need many updates.
        (&["--padding=255", "--window-bits=8", "--multiply=3"], 3),
        // The dynamic tables of headers are made smaller, and turned off.
        (&["--header-table-size=100", "--multiply=3"], 3),
        (&["--header-table-size=0", "--multiply=3"], 3),
        (&["--encoder-header-table-size=0", "--multiply=3"], 3),
    ] {
        let arguments = [&["--verbose", "--null-out"], arguments].concat();
        let output = nghttp(&host, "/echo/", &arguments);
        assert_eq!(answers(&output, "200"), count, "{arguments:?}\n{output}");
    }
    assert_bodies(&host, &body);
}

/// Bodies come back whole, whatever frames they were sent in.
fn assert_bodies(host: &Host, body: &Path) {
    let data = format!("--data={}", body.display());
    let sent = fs::read_to_string(body).expect("a file");
    for arguments in [
        &[][..],
        &["--padding=100", "--no-content-length"],
        &["--trailer=x-checked: yes"],
        &["--window-bits=10", "--connection-window-bits=16"],
    ] {
        let arguments = [&[data.as_str()], arguments].concat();
        let output = nghttp(host, "/echo/", &arguments);
        assert!(output.contains(&sent), "{arguments:?}");
    }
}

#[test]
fn headers_in_continuation_frames_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = manifests(&[Service::new("echo", "echo")]);
    fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
    let host = Galleria::run(folder.path()).start();
    // Not shorter in the code of HPACK, so that the head is longer than a frame. The client shows
    // it as one HEADERS frame.
    let large = format!("--header=x-large: {}", "<".repeat(20_000));
    let output = nghttp(&host, "/echo/", &["--verbose", "--null-out", &large]);
    assert!(output.contains("send HEADERS frame <length=20"), "{output}");
    assert_eq!(answers(&output, "200"), 1, "{output}");
}
