//! What a pod finds in its environment: fields, resources, configuration.

use std::path::Path;

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests, test_components};

const PRINTER: &str = "print-at-start";

#[test]
fn every_field_and_resource_reaches_the_environment() {
    let fields = [
        ("NAME", "metadata.name"),
        ("NAMESPACE", "metadata.namespace"),
        ("UID", "metadata.uid"),
        ("LABEL", "metadata.labels['app']"),
        ("ANNOTATION", "metadata.annotations['example.com/team']"),
        ("NODE", "spec.nodeName"),
        ("ACCOUNT", "spec.serviceAccountName"),
        ("POD_IP", "status.podIP"),
        ("HOST_IP", "status.hostIP"),
    ];
    let resources = [
        ("CPU", "limits.cpu, divisor: 1m"),
        ("CORES", "limits.cpu"),
        ("MEMORY", "limits.memory"),
        ("MEBIBYTES", "limits.memory, divisor: 1Mi"),
        ("ASKED", "requests.memory, divisor: 1Ki"),
    ];
    let mut env = "          env:\n".to_owned();
    for (name, path) in fields {
        env += &format!(
            "            - {{name: {name}, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}\n"
        );
    }
    for (name, resource) in resources {
        env += &format!(
            "            - {{name: {name}, valueFrom: {{resourceFieldRef: {{resource: {resource}}}}}}}\n"
        );
    }
    let service = Service::new("app", "env")
        .annotation("example.com/team", "shop")
        .memory("64Mi")
        .cpu("250m");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let yaml = manifests(&[service]).replace("          env: []\n", &env);
    std::fs::write(&file, yaml).expect("a file");
    let host = Galleria::run(file).start();

    let pod = &host.objects("Pod")[0];
    let found = host.get("/app/").json();
    let expected = [
        ("NAME", &pod["metadata"]["name"]),
        ("UID", &pod["metadata"]["uid"]),
        ("POD_IP", &pod["status"]["podIP"]),
    ];
    for (name, value) in expected {
        assert!(value.is_string(), "{pod}");
        assert_eq!(found[name], *value, "{name}");
    }
    for (name, value) in [
        ("NAMESPACE", "test"),
        ("LABEL", "app"),
        ("ANNOTATION", "shop"),
        ("NODE", "galleria"),
        ("ACCOUNT", "default"),
        ("HOST_IP", "127.0.0.1"),
        ("CPU", "250"),
        ("CORES", "1"),
        ("MEMORY", "67108864"),
        ("MEBIBYTES", "64"),
        ("ASKED", "65536"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
}

/// The variables that the pod `name` printed at its start.
fn printed(host: &Host, name: &str) -> impl Fn(&str) -> Option<String> + use<> {
    let lines = eventually(&format!("{name} has printed everything"), || {
        let lines: Vec<String> = host
            .stdout()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["pod"] == name)
            .filter_map(|line| line["message"].as_str().map(str::to_owned))
            .collect();
        lines.iter().any(|line| line == "end").then_some(lines)
    });
    move |variable| {
        let prefix = format!("{variable}=");
        let line = lines.iter().find_map(|line| line.strip_prefix(&prefix));
        line.map(str::to_owned)
    }
}

#[test]
fn listings_of_the_deck_print_the_same_as_in_a_cluster() {
    let deck = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    let folder = tempfile::tempdir().expect("a folder");
    let components = tempfile::tempdir().expect("a folder");
    for file in [
        "configmap-special-config.yaml",
        "pod-configmap.yaml",
        "pod-customersvc-preset.yaml",
        "pod-env-fieldref.yaml",
        "pod-env-resourcefieldref.yaml",
        "podpreset-allow-database.yaml",
    ] {
        std::fs::copy(deck.join(file), folder.path().join(file)).expect("a manifest");
    }
    let print = test_components().join(PRINTER).with_extension("wasm");
    for image in ["busybox", "nginx"] {
        let image = components.path().join(format!("{image}.wasm"));
        std::fs::copy(&print, image).expect("a component");
    }
    let host = Galleria::run(folder.path())
        .components(components.path())
        .start();

    let fields = printed(&host, "dapi-envars-fieldref");
    let address = host.object("Pod", "dapi-envars-fieldref")["status"]["podIP"].clone();
    for (name, value) in [
        ("MY_NODE_NAME", "galleria"),
        ("MY_POD_NAME", "dapi-envars-fieldref"),
        ("MY_POD_NAMESPACE", "sigma"),
        ("MY_POD_IP", address.as_str().expect("an address")),
        ("MY_POD_SERVICE_ACCOUNT", "default"),
    ] {
        assert_eq!(fields(name).as_deref(), Some(value), "{name}");
    }
    let resources = printed(&host, "dapi-envars-resourcefieldref");
    for (name, value) in [
        ("MY_CPU_REQUEST", "1"),
        ("MY_CPU_LIMIT", "1"),
        ("MY_MEM_REQUEST", "33554432"),
        ("MY_MEM_LIMIT", "67108864"),
    ] {
        assert_eq!(resources(name).as_deref(), Some(value), "{name}");
    }
    let special = printed(&host, "pod-configmap");
    assert_eq!(special("SPECIAL_LEVEL_KEY").as_deref(), Some("very"));
    assert_eq!(special("SPECIAL_TYPE_KEY").as_deref(), Some("charm"));
    let customer = printed(&host, "customersvc");
    assert_eq!(customer("DB_PORT").as_deref(), Some("6379"));
    assert_eq!(special("DB_PORT"), None, "the preset selects backends");
}
