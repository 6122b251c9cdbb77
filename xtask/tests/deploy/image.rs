//! The container image.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::support::{Run, build, image, podman, printed};

#[test]
fn image_serves_the_shop_read_only_without_root_or_capabilities() {
    let container = Run::of(image()).start().ready();

    assert_eq!(container.get("/ui").status, 200);
    let page = container.get("/productms/product/catalogue/3");
    assert!(page.body.contains("\"reviews\":[{"), "{}", page.body);
    let status = container.proc("status");
    let is = |line: &str| status.lines().any(|it| it == line);
    assert!(is("Uid:\t65532\t65532\t65532\t65532"), "{status}");
    assert!(is("CapEff:\t0000000000000000"), "{status}");
    assert!(is("NoNewPrivs:\t1"), "{status}");
    let mounts = container.proc("mounts");
    let mut root = mounts.lines().filter(|line| line.contains(" / "));
    assert!(root.all(|line| line.contains(" ro,")), "{mounts}");

    let health = container.health_check();
    assert_eq!(health.code, Some(0), "{}", health.stdout);
    assert_eq!(container.stop(), "0", "{}", container.logs());
}

#[test]
fn image_contains_compiled_components() {
    let container = Run::of(image()).start().ready();

    let logs = container.logs();
    assert!(logs.contains("with 6 pods"), "{logs}");
    assert!(!logs.contains("compiling"), "{logs}");
    // A release build needs 0.1 s. This build is slower, and other tests run at the same
    // time, but a host that compiles at its start needs ten times as long.
    let ready = logs.split("ready in ").nth(1).expect("the time");
    let seconds: f64 = ready.split(' ').next().unwrap_or("").parse().expect("s");
    assert!(seconds < 2.0, "{logs}");
}

/// The whole image may have 60 MB, of which a release build of the program takes 37. The
/// program here is another build, so only the rest is measured.
const REST_MAX_BYTES: u64 = 23_000_000;

#[test]
fn image_contains_only_the_host_its_libraries_and_the_shop() {
    let root = printed(&mut podman(["image", "mount", image()]));
    let root = Path::new(root.trim());
    let mut files = Vec::new();
    walk(root, &mut files);
    let document = std::fs::read(root.join("usr/share/doc/galleria/sbom.cdx.json"));
    let program = std::fs::read(root.join("usr/local/bin/galleria"));
    printed(&mut podman(["image", "unmount", image()]));
    let document: serde_json::Value =
        serde_json::from_slice(&document.expect("a bill of materials")).expect("JSON");
    let hash: String = Sha256::digest(program.expect("the program"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(document["components"][0]["hashes"][0]["content"], hash);

    let own = [
        "usr/local/bin/galleria",
        "usr/share/galleria",
        "etc/galleria",
    ];
    let is_own = |file: &Path| own.iter().any(|own| file.starts_with(root.join(own)));
    let others = files.iter().filter(|(file, _)| !is_own(file));
    let names = others.map(|(file, _)| file.file_name().expect("a name").to_string_lossy());
    let mut names: Vec<_> = names
        .filter(|name| !name.starts_with("ld-linux-"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "group",
            "libc.so.6",
            "libgcc_s.so.1",
            "libm.so.6",
            "nsswitch.conf",
            "passwd",
            "sbom.cdx.json"
        ]
    );
    let rest = files.iter().filter(|(file, _)| !file.ends_with(own[0]));
    let rest: u64 = rest.map(|(_, bytes)| bytes).sum();
    println!("{rest} bytes besides the program");
    assert!(rest <= REST_MAX_BYTES, "{rest} bytes besides the program");
}

/// All files below `folder`, with their sizes.
fn walk(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in folder.read_dir().expect("a folder") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        if metadata.is_dir() {
            walk(&entry.path(), files);
        } else {
            files.push((entry.path(), metadata.len()));
        }
    }
}

#[test]
fn volume_keeps_data_from_one_container_to_the_next() {
    let volume = printed(&mut podman(["volume", "create"]));
    let volume = volume.trim();
    let run = || {
        Run::of(image())
            .option(format!("--volume={volume}:/var/lib/galleria"))
            .start()
            .ready()
    };
    let container = run();
    let lamp = r#"{"name":"Lamp","category":"1","description":"","price":19.99}"#;
    assert_eq!(container.post("/productms/product/", lamp).status, 201);
    drop(container);

    let found = run().get("/productms/product/catalogue/13");
    assert!(found.body.contains("Lamp"), "{}", found.body);
    printed(&mut podman(["volume", "rm", volume]));
}

#[test]
fn health_check_of_the_image_fails_if_no_host_runs() {
    let check = Run::of(image()).argument("healthcheck").to_its_end();

    assert_eq!(check.code, Some(1));
    let said = "no response from the status port 127.0.0.1:15020";
    assert!(check.stderr.contains(said), "{}", check.stderr);
}

#[test]
fn image_has_labels_and_a_stop_signal() {
    let inspect = |format| {
        let mut inspect = podman(["image", "inspect", "--format", format]);
        printed(inspect.arg(image())).trim().to_owned()
    };

    let label = |name| inspect_label(&inspect("{{json .Labels}}"), name);
    assert_eq!(label("title"), "galleria");
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    let revision = label("revision");
    let is_digest = revision.len() == 40 && revision.chars().all(|it| it.is_ascii_hexdigit());
    assert!(is_digest || revision == "unknown", "{revision}");
    assert_eq!(inspect("{{.User}}"), "65532:65532");
    assert_eq!(inspect("{{.Config.StopSignal}}"), "SIGTERM");
}

fn inspect_label(labels: &str, name: &str) -> String {
    let labels: serde_json::Value = serde_json::from_str(labels).expect("labels");
    let label = &labels[format!("org.opencontainers.image.{name}")];
    label.as_str().expect("a label").to_owned()
}

#[test]
fn image_is_reproducible() {
    let layers = |name: &str| {
        let format = "{{json .RootFS.Layers}}";
        printed(&mut podman(["image", "inspect", "--format", format, name]))
    };
    let first = layers(image());

    build("localhost/galleria:again");

    assert_eq!(layers("localhost/galleria:again"), first);
    printed(&mut podman(["untag", "localhost/galleria:again"]));
}
