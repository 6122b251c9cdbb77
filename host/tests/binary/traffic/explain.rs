//! `galleria explain`: the decision, its reasons, and their positions in the manifests.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Shop, destination_rule, subsets, two_versions, with_rules};
use crate::support::{Service, eventually};

struct CommandOutput {
    code: Option<i32>,
    out: String,
    error: String,
}

/// `galleria explain PATH` in the repository's folder.
fn explain(path: &str, arguments: &[&str]) -> CommandOutput {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["explain", path])
        .args(arguments)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    CommandOutput {
        code: output.status.code(),
        out: text(output.stdout),
        error: text(output.stderr),
    }
}

/// The line of `file` that a position in the JSON refers to.
fn line_at(place: &Value) -> String {
    let file = place["file"].as_str().expect("a file");
    let line = place["line"].as_u64().expect("a line");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join(file)).expect("the file");
    let line = text.lines().nth(line as usize - 1).expect("the line");
    line.trim().to_owned()
}

#[test]
fn page_shows_every_step_with_its_line() {
    let said = explain(
        "deploy/shop",
        &[
            "--url",
            "http://localhost:8080/ui",
            "-H",
            "user-agent: curl/8",
        ],
    );
    assert_eq!((said.code, said.error.as_str()), (Some(0), ""));
    insta::assert_snapshot!(said.out);
}

#[test]
fn json_names_each_step_with_file_and_line() {
    let said = explain(
        "deploy/shop",
        &[
            "--url",
            "http://localhost:8080/productms/product",
            "-H",
            "end-user: metamagic",
            "-o",
            "json",
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.error);
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json["gateway"]["name"], "shoppingportal-gateway");
    assert!(line_at(&json["gateway"]["at"]).starts_with("apiVersion"));
    assert_eq!(json["virtualService"]["name"], "shoppingportal-vs");
    assert!(line_at(&json["virtualService"]["at"]).starts_with("apiVersion"));
    assert!(line_at(&json["rule"]["at"]).starts_with("- name: products-canary"));
    let destination = &json["destinations"][0];
    assert_eq!(
        destination["host"],
        "productservice.shoppingportal.svc.cluster.local"
    );
    assert!(line_at(&destination["at"]).contains("destination:"));
    assert_eq!(destination["subset"]["name"], "canary");
    assert_eq!(line_at(&destination["subset"]["at"]), "- name: canary");
    let endpoints = destination["endpoints"].as_array().expect("endpoints");
    assert_eq!(endpoints.len(), 2);
    assert_eq!(endpoints[0]["name"], "shoppingportal/productms-v2-example");
    assert_eq!(endpoints[0]["eligible"], true);
    assert_eq!(endpoints[0]["reason"], "ready");
    assert!(line_at(&endpoints[0]["at"]).starts_with("apiVersion"));
    assert_eq!(endpoints[1]["name"], "shoppingportal/productms-v1-example");
    assert_eq!(endpoints[1]["eligible"], false);
    assert_eq!(
        endpoints[1]["reason"],
        "not in the subset: its label version is v1, not v2"
    );
    let conditions = &json["rules"][4]["blocks"][0]["conditions"];
    assert_eq!(conditions[1]["field"], "header end-user");
    assert_eq!(conditions[1]["actual"], "metamagic");
    assert_eq!(conditions[1]["matched"], true);
}

#[test]
fn calls_of_a_workload_are_explained_with_the_rules_of_the_mesh() {
    let said = explain(
        "deploy/shop",
        &[
            "--url",
            "http://productservice/productms/product?sort=price",
            "--from",
            "shoppingportal/ui-v1",
        ],
    );
    assert_eq!(said.code, Some(0), "{}", said.error);
    for expected in [
        "from shoppingportal/ui-v1",
        "VirtualService shoppingportal/productservice-vs",
        "subset canary",
        "productms-v2-example",
    ] {
        assert!(
            said.out.contains(expected),
            "no `{expected}` in {}",
            said.out
        );
    }
}

#[test]
fn virtual_service_with_missing_services_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let deck = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    for file in [
        "gateway-shoppingportal.yaml",
        "virtualservice-shoppingportal.yaml",
        "destinationrule-product.yaml",
    ] {
        std::fs::copy(deck.join(file), folder.path().join(file)).expect("a copy");
    }
    let request = ["--url", "http://localhost/ui", "-H", "User-Agent: Firefox"];
    let path = folder.path().to_str().expect("text");
    let strict = explain(path, &[&request[..], &["--strict"]].concat());
    assert_eq!(strict.code, Some(1), "the host would refuse it");
    assert!(strict.error.contains("IST0101"), "{}", strict.error);
    let said = explain(path, &request);
    assert_eq!(said.code, Some(0), "{}", said.error);
    for expected in [
        "rule 1: MATCHES",
        "yes header user-agent must match regex .*Firefox.*",
        "subset canary",
        "is not there",
        "503",
    ] {
        assert!(
            said.out.contains(expected),
            "no `{expected}` in {}",
            said.out
        );
    }
}

#[test]
fn refusals_faults_and_normalised_paths_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "    - match: [{uri: {prefix: /admin}}]
      directResponse: {status: 403, body: {string: forbidden}}
    - match: [{uri: {prefix: /slow}}]
      fault: {delay: {fixedDelay: 2s, percentage: {value: 10}}}
      timeout: 5s
      retries: {attempts: 0}
      route: [{destination: {host: app, subset: v2}}]
";
    let manifest = with_rules(&two_versions(), rules, &[subsets()]);
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    let ask = |url: &str| explain(folder.path().to_str().expect("text"), &["--url", url]).out;
    let page = ask("http://localhost/app/../admin");
    assert!(
        page.contains("every rule sees its path as /admin"),
        "{page}"
    );
    assert!(page.contains("403: direct response"), "{page}");
    let page = ask("http://localhost/slow");
    for expected in [
        "fault: 10 % delayed by 2s",
        "timeout: 5s",
        "retries: none",
        "test/app-v2-example",
    ] {
        assert!(page.contains(expected), "no `{expected}` in {page}");
    }
    let page = ask("http://localhost:81/slow");
    assert!(page.contains("404 NR"), "{page}");
}

#[test]
fn wrong_usage_of_explain_exits_with_two_and_shows_the_right_form() {
    for (arguments, expected) in [
        (&["--url", "localhost"][..], "write it as in http://"),
        (&["--url", "ftp://localhost/"], "write it as in http://"),
        (&["--url", "http://x/", "--method", "G T"], "--method `G T`"),
        (&["--url", "http://x/", "-H", "end-user"], "-H `end-user`"),
        (
            &["--url", "http://x/", "--from", "shoppingportal/ui-v3"],
            "did you mean `shoppingportal/ui-v",
        ),
    ] {
        let said = explain("deploy/shop", arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert!(said.error.contains(expected), "{}", said.error);
        assert!(said.out.is_empty());
    }
}

#[test]
fn running_host_reports_which_pod_is_ejected() {
    let ejection = destination_rule(
        "app",
        "trafficPolicy:
  loadBalancer: {simple: ROUND_ROBIN}
  outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 10m, maxEjectionPercent: 100}",
    );
    let services = [
        Service::new("app", "hello"),
        Service::version("app", "v2", "status"),
    ];
    let rule = "    - name: app
      match: [{uri: {prefix: /app}}]
      rewrite: {uri: /}
      route: [{destination: {host: app}}]
      retries: {attempts: 0}
";
    let shop = Shop::start_under_one_roof(&with_rules(&services, rule, &[ejection]), &[]);
    let data = shop.host.data.to_str().expect("a path");
    let url = format!("http://{}/app", shop.host.listener(80));
    let asked = |more: &[&str]| explain("--url", &[&[url.as_str(), "--data", data], more].concat());
    let endpoints = || {
        let said = asked(&["-o", "json"]);
        assert_eq!((said.code, said.error.as_str()), (Some(0), ""));
        let json: Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!(json["rule"]["name"], "app");
        let endpoints = json["destinations"][0]["endpoints"].as_array().cloned();
        endpoints.expect("endpoints")
    };
    assert!(
        endpoints()
            .iter()
            .all(|endpoint| endpoint["eligible"] == true)
    );
    eventually("the bad pod is ejected", || {
        shop.host.get("/app?code=500");
        shop.host.stderr().contains("\"ejected\"").then_some(())
    });
    let out = endpoints()
        .into_iter()
        .find(|endpoint| endpoint["eligible"] == false);
    let out = out.expect("an ejected pod");
    assert_eq!(out["workload"], "test/app-v2");
    let reason = out["reason"].as_str().expect("a reason");
    assert!(reason.contains("ejected"), "{reason}");
    assert!(asked(&[]).out.contains(reason), "{}", asked(&[]).out);
}

#[test]
fn invalid_queries_and_a_missing_host_are_reported() {
    let shop = Shop::start_under_one_roof(&with_rules(&two_versions(), "", &[]), &[]);
    let data = shop.host.data.to_str().expect("a path");
    let said = explain("--url", &["http://x/", "--data", data, "--from", "test/ap"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.error.contains("did you mean `test/app`?"),
        "{}",
        said.error
    );
    let empty = tempfile::tempdir().expect("a folder");
    let nobody = empty.path().to_str().expect("a path");
    let said = explain("--url", &["http://x/", "--data", nobody]);
    assert_eq!(said.code, Some(1));
    assert!(said.error.contains("no host is running"), "{}", said.error);
}
