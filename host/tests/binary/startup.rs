//! Start: each problem is reported in one clear line, and nothing is started partially.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Galleria, Output, Service, manifests, shop_components, test_components};

/// A folder with one manifest in it.
fn folder_with(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    folder
}

fn fail(image: &'static str) -> Output {
    let folder = folder_with(&manifests(&[Service::new("bad", image)]));
    Galleria::run(folder.path()).fail()
}

/// Asserts that the host exited with 1 and that its output contains `expected`.
#[track_caller]
fn refused(output: &Output, expected: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    for text in expected {
        assert!(
            output.stderr.contains(text),
            "no `{text}` in:\n{}",
            output.stderr
        );
    }
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    assert_eq!(output.stdout, "", "nothing was served");
}

#[test]
fn missing_folder_is_named() {
    refused(
        &Galleria::run("/no/such/folder").fail(),
        &["/no/such/folder"],
    );
}

#[test]
fn message_about_a_missing_image_names_the_searched_paths() {
    refused(
        &fail("shop/nothing:v3"),
        &[
            "test.yaml:",
            "shop/nothing:v3",
            "nothing/v3.wasm",
            "ServiceEntry",
        ],
    );
}

#[test]
fn component_without_an_http_handler_is_refused() {
    refused(
        &fail("no-http"),
        &["exports no HTTP handler", "wasi:http/incoming-handler"],
    );
}

#[test]
fn corrupt_component_is_refused() {
    let components = tempfile::tempdir().expect("a folder");
    std::fs::write(
        components.path().join("bad.wasm"),
        b"\0asm\x0d\0\x01\0 and then rubbish",
    )
    .expect("a file");
    let folder = folder_with(&manifests(&[Service::new("bad", "bad")]));
    let output = Galleria::run(folder.path())
        .components(components.path())
        .fail();
    refused(&output, &["bad.wasm", "is not a WebAssembly component"]);
}

#[test]
fn core_module_is_distinguished_from_a_component() {
    let components = tempfile::tempdir().expect("a folder");
    std::fs::write(components.path().join("bad.wasm"), b"\0asm\x01\0\0\0").expect("a file");
    let folder = folder_with(&manifests(&[Service::new("bad", "bad")]));
    let output = Galleria::run(folder.path())
        .components(components.path())
        .fail();
    refused(&output, &["core WebAssembly module", "wasm32-wasip2"]);
}

#[test]
fn port_in_use_is_named_with_its_gateway() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let manifest = manifests(&[Service::new("good", "hello")])
        .replace("number: 80", &format!("number: {port}"));
    let folder = folder_with(&manifest);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args([
            "run",
            "--status",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--components",
        ])
        .arg(test_components())
        .args(["--cache", env!("CARGO_TARGET_TMPDIR"), "--data"])
        .arg(folder.path().join("data"))
        .arg(folder.path().join("test.yaml"))
        .output()
        .expect("the binary");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("127.0.0.1:{port}")) && error.contains("test/gateway"),
        "{error}"
    );
    assert!(error.contains("--port-offset"), "{error}");
}

#[test]
fn data_folder_that_cannot_be_created_is_named() {
    let folder = folder_with(&manifests(&[Service::new("good", "hello")]));
    let output = Galleria::run(folder.path()).data("/proc/galleria").fail();
    refused(&output, &["/proc/galleria", "--data"]);
}

#[test]
fn second_host_on_one_data_folder_is_refused() {
    let folder = folder_with(&manifests(&[Service::new("good", "hello")]));
    let first = Galleria::run(folder.path()).start();
    let output = Galleria::run(folder.path()).data(&first.data).fail();
    refused(&output, &["already running"]);
    assert_eq!(first.get("/good/").status, 200);
}

#[test]
fn all_manifest_errors_are_reported_and_nothing_starts() {
    let manifest = manifests(&[Service::new("good", "hello")])
        .replace("prefix: /good/", "prefx: /good/")
        .replace("containerPort: 8080", "containerPort: eighty");
    let folder = folder_with(&manifest);
    let output = Galleria::run(folder.path()).fail();
    refused(
        &output,
        &[
            "VirtualService/routes",
            "`prefix`",
            "containerPort",
            "nothing was started",
        ],
    );
}

#[test]
fn wrong_usage_exits_with_two() {
    let folder = folder_with(&manifests(&[Service::new("good", "hello")]));
    for bad in [
        "--no-such-flag",
        "--request-timeout=soon",
        "--status=here",
        "--port-offset=70000",
    ] {
        let output = Galleria::run(folder.path()).argument(bad).fail();
        assert_eq!(output.code, Some(2), "{bad}: {output:?}");
    }
}

#[test]
fn guest_that_crashes_at_its_start_backs_off_and_is_reported() {
    let manifest = manifests(&[Service::new("bad", "crash-at-start")]);
    let folder = folder_with(&manifest);
    let data = tempfile::tempdir().expect("a folder");
    let host = std::process::Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args([
            "run",
            "--free-ports",
            "--status",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--components",
        ])
        .arg(test_components())
        .args(["--cache", env!("CARGO_TARGET_TMPDIR"), "--data"])
        .arg(data.path())
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary");
    let _host = KillOnDrop(host);
    let page = crate::support::eventually("the pod backs off", || {
        let page = status(data.path());
        page.contains("CrashLoopBackOff").then_some(page)
    });
    assert!(page.contains("galleria 0.2.0: not ready"), "{page}");
    assert!(page.contains("StartError"), "{page}");
    assert!(page.contains("BackOff"), "its event: {page}");

    // A corrected file fixes a host that was never ready.
    let mended = manifest.replace("image: crash-at-start", "image: hello");
    std::fs::write(folder.path().join("test.yaml"), mended).expect("a file");
    crate::support::eventually("the host is ready", || {
        status(data.path())
            .contains("galleria 0.2.0: ready")
            .then_some(())
    });
}

/// A child process that is killed when its test ends, even by a panic.
struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(data: &Path) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(["status", "--data"])
        .arg(data)
        .output()
        .expect("the binary");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn second_start_compiles_only_corrupt_entries() {
    let cache = tempfile::tempdir().expect("a folder");
    let start = || {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
        let data = tempfile::tempdir().expect("a folder");
        let began = Instant::now();
        let host = Galleria::run(manifests)
            .components(shop_components())
            .data(data.path())
            .env("GALLERIA_CACHE", cache.path().to_str().expect("text"))
            .without_shared_cache()
            .start();
        let took = began.elapsed();
        assert_eq!(host.get("/ui").status, 200);
        (
            host.stderr()
                .lines()
                .filter(|line| line.contains("compiled"))
                .count(),
            took,
            host.stderr(),
        )
    };
    let (compiled, ..) = start();
    assert_eq!(compiled, 7, "seven components on the first start");
    let (compiled, took, _) = start();
    assert_eq!(compiled, 0, "none on the second");
    // Other tests run at the same time; alone it takes a fraction of a second.
    assert!(
        took < Duration::from_secs(10),
        "the second start took {took:?}"
    );

    let entries: Vec<_> = std::fs::read_dir(cache.path())
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "cwasm")
        })
        .collect();
    assert_eq!(entries.len(), 7);
    let half = std::fs::read(&entries[0]).expect("an entry");
    std::fs::write(&entries[0], &half[..half.len() / 2]).expect("cut short");
    let mut flipped = std::fs::read(&entries[1]).expect("an entry");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&entries[1], flipped).expect("altered");
    let (compiled, _, log) = start();
    assert_eq!(compiled, 2, "{log}");
    assert_eq!(
        log.lines()
            .filter(|line| line.contains("cannot use cached code"))
            .count(),
        2
    );
}

#[test]
fn invalid_request_timeout_is_rejected_with_its_position() {
    let service = Service::new("bad", "hello").annotation("galleria.dev/request-timeout", "soon");
    let folder = folder_with(&manifests(&[service]));
    let output = Galleria::run(folder.path()).fail();
    refused(
        &output,
        &[
            "spec.template.metadata.annotations",
            "`galleria.dev/request-timeout` is `soon`",
            "use a duration such as `30s`",
        ],
    );
}
