//! Registries that are malicious, or broken in the same ways.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use super::layouts::digest;
use super::{LAYER, Web, files};

/// A plain HTTP server that answers each request by calling `answer` with its path.
fn registry(
    answer: impl Fn(&str, &str, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = socket.local_addr().expect("its address").to_string();
    let own = host.clone();
    std::thread::spawn(move || {
        for mut stream in socket.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let path = request.split(' ').nth(1).unwrap_or_default();
            // The client may hang up early.
            let _ = answer(&own, path, &mut stream);
        }
    });
    host
}

fn send(stream: &mut TcpStream, status: &str, header: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\n{header}\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// Sends spaces for as long as the client reads.
fn send_without_end(stream: &mut TcpStream) -> std::io::Result<()> {
    send(stream, "200 OK", "content-type: application/json", b"")?;
    loop {
        stream.write_all(&[b' '; 64 << 10])?;
    }
}

/// Asserts that pulling `image` from `host` fails with `message` and stores nothing.
#[track_caller]
fn refused(host: &str, image: &str, message: &str) {
    let web = Web::new();
    let output = web
        .galleria(&format!("{host}/{image}"))
        .argument(&format!("--registry-insecure={host}"))
        .fail();
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("ErrImagePull"), "{}", output.stderr);
    assert!(output.stderr.contains(message), "{}", output.stderr);
    assert_eq!(files(&web.data().join("images/blobs/sha256")), 0);
}

#[test]
fn endless_manifest_is_refused_at_the_limit() {
    let host = registry(|_, _, stream| send_without_end(stream));
    let said = "its manifest exceeds the limit of 4194304 bytes";
    refused(&host, "shop/hello:v1", said);
}

#[test]
fn endless_token_is_refused_at_the_limit() {
    let host = registry(|host, path, stream| {
        if path.starts_with("/token") {
            return send_without_end(stream);
        }
        let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\"");
        send(stream, "401 Unauthorized", &challenge, b"")
    });
    let said = "its token exceeds the limit of 262144 bytes";
    refused(&host, "shop/hello:v1", said);
}

#[test]
fn component_longer_than_its_descriptor_is_refused() {
    let layer = digest(b"a component");
    let manifest = json!({
        "schemaVersion": 2,
        "layers": [{"mediaType": LAYER, "digest": layer, "size": 11}],
    });
    let manifest = manifest.to_string();
    let host = registry(move |_, path, stream| {
        if path.contains("/blobs/") {
            return send_without_end(stream);
        }
        send(
            stream,
            "200 OK",
            "content-type: application/json",
            manifest.as_bytes(),
        )
    });
    let said = format!("the content does not match {layer}; it was altered or truncated");
    refused(&host, "shop/hello:v1", &said);
}

#[test]
fn component_with_too_large_a_descriptor_is_not_requested() {
    let manifest = json!({
        "schemaVersion": 2,
        "layers": [{"mediaType": LAYER, "digest": digest(b"large"), "size": u64::MAX}],
    });
    let manifest = manifest.to_string();
    let host = registry(move |_, path, stream| {
        assert!(!path.contains("/blobs/"), "{path}");
        send(
            stream,
            "200 OK",
            "content-type: application/json",
            manifest.as_bytes(),
        )
    });
    let said = "its component exceeds the limit of 268435456 bytes";
    refused(&host, "shop/hello:v1", said);
}

#[test]
fn manifest_of_another_digest_is_refused() {
    let pinned = digest(b"the manifest that was pinned");
    let host = registry(|_, _, stream| {
        send(
            stream,
            "200 OK",
            "content-type: application/json",
            b"{\"layers\": []}",
        )
    });
    let said = format!("the content does not match {pinned}; it was altered or truncated");
    refused(&host, &format!("shop/hello@{pinned}"), &said);
}

#[test]
fn redirect_loop_is_aborted() {
    let host = registry(|host, path, stream| {
        let location = format!("location: http://{host}{path}");
        send(stream, "307 Temporary Redirect", &location, b"")
    });
    let said = "redirects too many times";
    refused(&host, "shop/hello:v1", said);
}

#[test]
fn nesting_of_indexes_is_limited() {
    let index = |next: &str| {
        json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": next, "size": 1}],
        })
        .to_string()
    };
    let third = index(&digest(b"and so on"));
    let second = index(&digest(third.as_bytes()));
    let first = index(&digest(second.as_bytes()));
    let all = [first, second, third];
    let host = registry(move |_, path, stream| {
        let named = all
            .iter()
            .find(|index| path.ends_with(&digest(index.as_bytes())));
        let index = named.unwrap_or(&all[0]);
        send(
            stream,
            "200 OK",
            "content-type: application/json",
            index.as_bytes(),
        )
    });
    refused(&host, "shop/hello:v1", "its indexes are nested too deeply");
}
