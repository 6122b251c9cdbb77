//! Restrictions that the host does not enforce stop it, unless `--allow-unenforced` names
//! them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Galleria, Service, eventually, kubectl_fed, manifests, refused_fed};

const FILTER: &str = "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\n\
                      metadata: {name: deny, namespace: test}\nspec: {}\n";
const INGRESS: &str = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\n\
                       metadata: {name: edge, namespace: test, annotations: \
                       {nginx.ingress.kubernetes.io/auth-url: 'http://auth/check'}}\n\
                       spec: {defaultBackend: {service: {name: hello, port: {number: 80}}}}\n";
const AUTH_URL: &str = "nginx.ingress.kubernetes.io/auth-url";

fn hello() -> String {
    manifests(&[Service::new("hello", "hello")])
}

fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .arg("check")
        .args(arguments)
        .output()
        .expect("the galleria binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_restriction_stops_the_start_and_a_reload_until_the_flag_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, hello() + FILTER + INGRESS).expect("a file");
    let path = file.to_str().expect("text");
    let cures = [
        "`--allow-unenforced EnvoyFilter`".to_owned(),
        format!("`--allow-unenforced {AUTH_URL}`"),
    ];

    let (code, out) = check(&[path]);
    assert_eq!(code, Some(1), "{out}");
    let failed = Galleria::run(&file).fail();
    assert_eq!(failed.code, Some(1));
    for cure in &cures {
        assert!(out.contains(cure), "{out}");
        assert!(failed.stderr.contains(cure), "{}", failed.stderr);
    }
    assert!(failed.stderr.contains("nothing was started"));

    let one = check(&[path, "--allow-unenforced", "EnvoyFilter"]);
    assert_eq!(one.0, Some(1), "the other one is still an error: {}", one.1);
    let both = format!("EnvoyFilter,{AUTH_URL}");
    let (code, out) = check(&[path, "--allow-unenforced", &both]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("warning: EnvoyFilter/deny"), "{out}");

    let host = Galleria::run(&file)
        .env("GALLERIA_ALLOW_UNENFORCED", &both)
        .start();
    assert_eq!(host.get("/").status, 200);
    let other = "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\n\
                 metadata: {name: waf, namespace: test}\nspec: {}\n";
    std::fs::write(&file, hello() + FILTER + INGRESS + other).expect("a file");
    eventually("the reload is rejected", || {
        let cure = "`--allow-unenforced WasmPlugin`";
        host.stderr().contains(cure).then_some(())
    });
    assert_eq!(host.get("/").status, 200, "the previous configuration");
}

#[test]
fn the_api_refuses_a_restriction_that_the_flag_does_not_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, hello()).expect("a file");
    let data = folder.path().join("data");

    let host = Galleria::run(&file).data(&data).start();
    let error = refused_fed(&host, &["create"], INGRESS);
    assert!(error.contains("is invalid"), "{error}");
    let cure = format!("--allow-unenforced {AUTH_URL}");
    assert!(error.contains(&cure), "{error}");
    drop(host);

    let allowed = || Galleria::run(&file).data(&data);
    let host = allowed()
        .arguments(&["--allow-unenforced", AUTH_URL])
        .start();
    kubectl_fed(&host, &["create"], INGRESS);
    drop(host);

    // The object is stored now, and must not open anything without the flag either.
    let failed = allowed().fail();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains(&cure), "{}", failed.stderr);
    let host = allowed()
        .arguments(&["--allow-unenforced", AUTH_URL])
        .start();
    assert_eq!(host.get("/").status, 200, "nothing was lost");
}

#[test]
fn an_unknown_name_is_refused_with_the_names_that_exist() {
    let (code, out) = check(&[".", "--allow-unenforced", "EnvoyFilters"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("did you mean `EnvoyFilter`?"), "{out}");
    assert!(out.contains("WasmPlugin"), "{out}");
}

/// What the project itself ships, except the manifests for a cluster.
#[test]
fn the_shop_and_every_overlay_start_without_the_flag() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders: [PathBuf; 2] = [root.join("deploy/shop"), root.join("deploy/kubernetes")];
    for folder in folders {
        let (_, out) = check(&[folder.to_str().expect("text")]);
        assert!(!out.contains("GAL0038"), "{out}");
    }
}
