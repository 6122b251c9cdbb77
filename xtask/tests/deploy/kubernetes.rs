//! `deploy/kubernetes`: every object of every overlay is validated, and podman runs the
//! pods that a cluster would run. Features that need a cluster are not tested: policies,
//! autoscaling, weights.

mod namespace;
mod played;
mod pods;
mod rendered;
mod workloads;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::printed;
use rendered::{ManifestObject, deploy, overlay, overlays, restoring};

/// Kinds that `galleria check` knows, and those of the Prometheus operator.
const WITHOUT_SCHEMA: [&str; 3] = [
    "gateway.networking.k8s.io/v1",
    "networking.istio.io/v1",
    "monitoring.coreos.com/v1",
];

/// Routing objects, as named in the output of the host's check.
const ROUTING: [&str; 4] = [
    ": HTTPRoute/",
    ": Gateway/",
    ": VirtualService/",
    ": DestinationRule/",
];

#[test]
fn every_object_of_every_overlay_matches_its_schema() {
    let names = overlays();
    for expected in ["one-roof", "per-service", "canary", "blue-green", "aws"] {
        assert!(names.iter().any(|name| name == expected), "{expected}");
    }
    for name in names {
        let objects = overlay(&name);
        assert!(objects.len() > 20, "{name}: {}", objects.len());
        for object in objects {
            let version = object.object["apiVersion"].as_str().unwrap_or_default();
            let expected = match WITHOUT_SCHEMA.contains(&version) {
                true => json!("no schema"),
                false => Value::Null,
            };
            let (kind, object_name) = (object.kind(), object.name());
            assert_eq!(object.verdict, expected, "{name}: {kind}/{object_name}");
        }
    }
    let restoring = restoring();
    assert_eq!(restoring.len(), 1);
    assert_eq!(restoring[0].verdict, Value::Null);
}

#[test]
fn schema_violations_are_found() {
    let said = |yaml: &str| rendered::checked(yaml.into())[0].verdict.to_string();
    let misspelt = "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {selektor: {a: b}}}";
    assert!(said(misspelt).contains("selektor"), "{}", said(misspelt));
    let mistyped =
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: many}}";
    assert!(said(mistyped).contains("spec"), "{}", said(mistyped));
}

#[test]
fn hosts_in_a_cluster_get_the_manifests_of_the_shop() {
    let mut own = BTreeMap::new();
    for entry in deploy().join("shop").read_dir().expect("the shop") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|it| it.to_str()).expect("a name");
        if name.ends_with(".yaml") {
            let text = std::fs::read_to_string(&path).expect("a manifest");
            own.insert(name.to_owned(), Value::from(text));
        }
    }
    for name in overlays() {
        let objects = overlay(&name);
        let config = |object: &&ManifestObject| object.name().starts_with("shop-manifests-");
        let config = objects.iter().find(config).expect("the ConfigMap");
        let own = Value::from_iter(own.clone());
        assert!(
            config.object["data"] == own,
            "{name}: deploy/shop/Kustomization lists other files"
        );
    }
}

#[test]
fn each_workload_of_the_shop_has_a_deployment_and_a_headless_service() {
    let objects = overlay("per-service");
    let mut workloads = Vec::new();
    for object in objects.iter().filter(|it| it.kind() == "Deployment") {
        let template = object.template().expect("a template");
        let environment = &template["spec"]["containers"][0]["env"];
        let environment = environment.as_array().expect("variables");
        if environment
            .iter()
            .any(|it| it["name"] == "GALLERIA_GATEWAY")
        {
            continue;
        }
        let workload = json!({"name": "GALLERIA_WORKLOAD", "value": object.name()});
        assert!(environment.contains(&workload), "{environment:?}");
        workloads.push(object.name());
        if object.name() == "ratings" {
            assert_eq!(
                object.object["spec"]["strategy"],
                json!({"type": "Recreate"})
            );
            continue; // a CronJob has no callers
        }
        let service = |it: &&ManifestObject| it.kind() == "Service" && it.name() == object.name();
        let service = objects.iter().find(service).expect("a Service of its name");
        let spec = &service.object["spec"];
        assert_eq!(spec["clusterIP"], "None");
        assert_eq!(spec["selector"], template["metadata"]["labels"]);
    }
    workloads.sort_unstable();
    let shop = [
        "productms-v1",
        "productms-v2",
        "productreviewms-v1",
        "productreviewms-v2",
        "ratings",
        "ui-v1",
        "ui-v2",
    ];
    assert_eq!(workloads, shop);
}

#[test]
fn routes_and_secrets_of_the_overlays_pass_galleria_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = rendered::secrets(folder.path());
    assert_eq!(secrets.len(), 2);
    let authority = rendered::authority(folder.path());
    assert!(authority.len() == 1 && authority[0].verdict.is_null());
    assert!(secrets.iter().all(|it| it.verdict.is_null()));
    for name in overlays() {
        let objects = overlay(&name)
            .into_iter()
            .chain(rendered::secrets(folder.path()));
        // Those two run programs that are not components.
        let known = objects.filter(|it| !["StatefulSet", "CronJob"].contains(&it.kind()));
        let manifests = folder.path().join(format!("{name}.json"));
        let mut list: Vec<_> = known.map(|it| it.object).collect();
        list.push(authority[0].object.clone());
        let list = json!({"apiVersion": "v1", "kind": "List", "items": list});
        std::fs::write(&manifests, list.to_string()).expect("a manifest");
        let said = printed(galleria().arg("check").arg(&manifests));
        assert!(said.contains(" 0 errors"), "{name}: {said}");
        // Routes must have the same effect in the host as in a cluster.
        let of_route = |line: &&str| ROUTING.iter().any(|kind| line.contains(kind));
        let complaints = Vec::from_iter(said.lines().filter(of_route));
        assert!(complaints.is_empty(), "{name}: {complaints:#?}");
    }
    let deploy = deploy();
    let shop = [
        deploy.join("shop"),
        deploy.join("compose/postgresql/manifests"),
        folder.path().join("compose/secrets/databases.yaml"),
    ];
    let said = printed(galleria().arg("check").args(shop));
    assert!(said.contains(" 0 errors"), "{said}");
}

fn galleria() -> Command {
    let xtask = Path::new(env!("CARGO_BIN_EXE_xtask"));
    Command::new(xtask.with_file_name("galleria"))
}
