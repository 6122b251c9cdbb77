//! A Secret's values reach only the pods that use them.

use std::path::Path;
use std::process::Command;

use crate::support::{Galleria, Service, eventually, manifests};

/// Values that do not occur by chance, and their base64 forms.
const NEEDLES: [&str; 6] = [
    "tr0ub4dor-and-3",
    "dHIwdWI0ZG9yLWFuZC0z",
    "c0rrect-h0rse",
    "YzBycmVjdC1oMHJzZQ",
    "b4ttery-st4ple",
    "YjR0dGVyeS1zdDRwbGU",
];

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata:
  name: login
  namespace: test
  annotations: {note: kept}
data: {password: dHIwdWI0ZG9yLWFuZC0z}
stringData: {token: c0rrect-h0rse}
";

const POD: &str = "          args: ['--password=$(PASSWORD)']
          env:
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
            - {name: URL, value: 'http://user:$(PASSWORD)@db/'}
          envFrom: [{prefix: LOGIN_, secretRef: {name: login}}]
          volumeMounts:
            - {name: login, mountPath: /login}
            - {name: login, mountPath: /one/token, subPath: token}
      volumes: [{name: login, secret: {secretName: login}}]
";

fn shows_nothing(what: &str, text: &str) {
    for needle in NEEDLES {
        assert!(!text.contains(needle), "{needle} is in {what}:\n{text}");
    }
}

fn galleria(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(arguments)
        .arg(folder)
        .output()
        .expect("the galleria binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Every file of the data folder except volumes, which pods read.
fn files(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let is_volume = path.ends_with("data/pods") || path.ends_with("data/volumes");
        if path.is_dir() && !is_volume {
            files(&path, text);
        } else if path.is_file() {
            text.push_str(&String::from_utf8_lossy(
                &std::fs::read(&path).expect("a file"),
            ));
        }
    }
}

#[test]
fn values_of_a_secret_do_not_leave_its_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::new("app", "files").annotation("galleria.dev/isolation", "instance");
    let broken = Service::new("broken", "trap");
    let app = manifests(&[service, broken]).replacen("          env: []\n", POD, 1);
    std::fs::write(folder.path().join("app.yaml"), app).expect("a file");
    let write = |secret: &str| {
        let new = folder.path().join("login.new");
        std::fs::write(&new, secret).expect("a file");
        std::fs::rename(new, folder.path().join("login.yaml")).expect("renamed");
    };
    write(SECRET);
    let data = tempfile::tempdir().expect("a folder");
    let data = data.path().join("data");
    let host = Galleria::run(folder.path())
        .data(&data)
        .argument("--log=debug,wasmtime=info,cranelift_codegen=info")
        .start();

    // The pod reads all of them.
    let read = |path: &str| host.get(&format!("/app/read?path={path}")).json()["text"].clone();
    assert_eq!(read("/login/password"), NEEDLES[0]);
    assert_eq!(read("/one/token"), NEEDLES[2]);
    let arguments = host.get("/app/arguments").json()["arguments"].clone();
    assert_eq!(arguments[1], format!("--password={}", NEEDLES[0]));
    assert_eq!(host.get("/broken/").status, 503);

    // The Secret changes, and is then invalid in several ways.
    write(&SECRET.replace(NEEDLES[2], NEEDLES[4]));
    eventually("the new value", || {
        (read("/login/token") == NEEDLES[4]).then_some(())
    });
    for (wrong, said) in [
        (SECRET.replace("C0z}", "C0z!}"), "not base64"),
        (
            SECRET.replace("{token: c0rrect-h0rse}", "[c0rrect-h0rse]"),
            "expected a mapping",
        ),
        (
            SECRET.replace("{password:", "{pass word:"),
            "not a valid key",
        ),
        (
            SECRET.replace("{password:", "{pass:"),
            "has no key `password`",
        ),
        (
            SECRET.replace("c0rrect-h0rse}", "c0rrect-h0rse"),
            "login.yaml:",
        ),
    ] {
        write(&wrong);
        eventually(said, || host.stderr().contains(said).then_some(()));
        shows_nothing("check", &galleria(&["check"], folder.path()));
        shows_nothing("status", &host.status_page(&[]).stdout);
        shows_nothing("status as JSON", &host.status_page(&["-o", "json"]).stdout);
        shows_nothing("health", &host.status("/healthz/ready").body);
    }
    write(SECRET);
    let explained = galleria(
        &["explain", "--url", "http://shop.example/app/"],
        folder.path(),
    );
    assert!(explained.contains("app"), "{explained}");
    shows_nothing("explain", &explained);
    shows_nothing("check", &galleria(&["check"], folder.path()));
    shows_nothing("the metrics", &host.status("/metrics").body);
    shows_nothing("standard output", &host.stdout());
    shows_nothing("standard error", &host.stderr());
    let mut kept = String::new();
    files(&data, &mut kept);
    shows_nothing("the data folder", &kept);
}

#[test]
fn host_writes_no_core_dump() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("good", "hello")])).expect("a file");
    let host = Galleria::run(file).start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.id()));
    let limits = limits.expect("the limits of a running process");
    let core = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"));
    let words: Vec<_> = core.expect("the limit").split_whitespace().collect();
    assert_eq!(words[4..], ["0", "0", "bytes"]);
}
