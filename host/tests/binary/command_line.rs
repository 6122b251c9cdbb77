//! `galleria check`, `galleria status`, `galleria --help`.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Galleria, Service, manifests};

fn galleria(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(arguments)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let (code, help, _) = galleria(&["--help"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(help);
}

#[test]
fn help_of_run_names_every_flag_with_its_variable() {
    let (code, help, _) = galleria(&["run", "--help"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(help);
}

#[test]
fn missing_command_is_a_usage_error() {
    let (code, _, error) = galleria(&[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("Usage: galleria"), "{error}");
}

#[test]
fn check_finds_no_problems_in_the_shop() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    let (code, out, _) = galleria(&["check", shop.to_str().expect("text")]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.trim_end().ends_with("0 errors, 0 warnings"), "{out}");
}

#[test]
fn closed_output_pipe_is_not_a_failure() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    let shop = shop.to_str().expect("text");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), "kind: Service\n").expect("a file");
    let wrong = folder.path().to_str().expect("text");
    let url = "http://localhost/productreviewms";
    for (arguments, code) in [
        (&["check", shop][..], 0),
        (&["check", wrong], 1),
        (&["explain", shop, "--url", url], 0),
        (&["--help"], 0),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_galleria"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command.args(arguments).stdout(writer).output();
        let output = output.expect("the binary");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*errors),
            (Some(code), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn check_shows_all_errors_at_once_and_exits_with_one() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yaml"), "kind: Service\n").expect("a file");
    std::fs::write(folder.path().join("b.yaml"), "a: [1, 2\n").expect("a file");
    let (code, out, _) = galleria(&["check", folder.path().to_str().expect("text")]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("a.yaml:1:") && out.contains("b.yaml:"),
        "{out}"
    );
}

#[test]
fn status_reports_that_no_host_is_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, error) = galleria(&["status", "--data", folder.path().to_str().expect("text")]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no host is running"), "{error}");
}

#[test]
fn status_describes_the_running_host_on_one_page() {
    let host = Galleria::shop().start();
    let page = host.status_page(&[]);
    assert_eq!(page.code, Some(0));
    for expected in [
        "galleria 0.2.0: ready",
        "gateway shoppingportal/shoppingportal-gateway",
        "galleria/ui:v2",
        "1/1",
        "Running",
        "subset canary",
        "PROBLEMS\n  none",
    ] {
        assert!(
            page.stdout.contains(expected),
            "no `{expected}` in:\n{}",
            page.stdout
        );
    }
    let json: serde_json::Value =
        serde_json::from_str(&host.status_page(&["-o", "json"]).stdout).expect("JSON");
    assert_eq!(json["ready"], true);
    assert_eq!(json["workloads"].as_array().map(Vec::len), Some(6));
}

#[test]
fn unenforced_policy_causes_a_warning_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let policy = "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata:\n  \
                  name: deny\n  namespace: test\nspec: {}\n";
    let service = manifests(&[Service::new("hello", "hello")]);
    std::fs::write(&file, service + policy).expect("a file");
    let warning = "warning: EnvoyFilter/deny: EnvoyFilter is not enforced";
    let allow = ["--allow-unenforced", "EnvoyFilter"];
    let (code, out, _) = galleria(&["check", file.to_str().expect("text"), allow[0], allow[1]]);
    assert_eq!(code, Some(0), "a warning does not fail the check");
    assert!(out.contains(warning), "{out}");
    let host = Galleria::run(file).arguments(&allow).start();
    assert!(host.stderr().contains(warning), "{}", host.stderr());
    let page = host.status_page(&[]).stdout;
    assert!(
        page.contains("EnvoyFilter test/deny is not enforced: everything"),
        "{page}"
    );
}

#[test]
fn components_compiled_ahead_are_loaded_at_the_first_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let components = crate::support::shop_components();
    let (components, cache) = (
        components.to_str().expect("text"),
        folder.path().join("cache"),
    );
    let cache = cache.to_str().expect("text");
    let (code, out, _) = galleria(&["compile", components, "--cache", cache]);
    assert_eq!(code, Some(0), "{out}");
    let lines = |text: &str| out.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines(": compiled in "), out.lines().count(), "{out}");
    assert!(lines("product/v1.wasm") == 1, "{out}");
    let (code, again, _) = galleria(&["compile", components, "--cache", cache]);
    assert_eq!(code, Some(0));
    assert!(
        again
            .lines()
            .all(|line| line.ends_with(": already compiled")),
        "{again}"
    );

    let host = Galleria::shop()
        .without_shared_cache()
        .env("GALLERIA_CACHE", cache)
        .start();
    assert!(!host.stderr().contains("compiled"), "{}", host.stderr());
}

#[test]
fn compile_names_the_component_that_cannot_be_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let cache = folder.path().join("cache");
    let cache = cache.to_str().expect("text");
    let (code, _, error) = galleria(&["compile", path, "--cache", cache]);
    assert_eq!(code, Some(1));
    assert!(error.contains("there is no component (*.wasm)"), "{error}");
    std::fs::write(folder.path().join("bad.wasm"), "no component").expect("a file");
    let (code, _, error) = galleria(&["compile", path, "--cache", cache]);
    assert_eq!(code, Some(1));
    assert!(error.contains("bad.wasm"), "{error}");
}

#[test]
fn healthcheck_distinguishes_ready_from_unreachable() {
    let mut host = Galleria::shop().start();
    let address = host.status_address();
    let (code, out, error) = galleria(&["healthcheck", "--status", &address]);
    assert_eq!((code, out.as_str()), (Some(0), "ok\n"), "{error}");
    let (code, ..) = galleria(&["healthcheck", "--live", "--status", &address]);
    assert_eq!(code, Some(0));
    host.kill();
    let (code, _, error) = galleria(&["healthcheck", "--status", &address]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("no response from the status port"),
        "{error}"
    );
}
