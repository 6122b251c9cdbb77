//! The workshop's manifests and kubectl lines, one after the other, with what each shows.

use std::path::{Path, PathBuf};

use crate::support::{Galleria, Host, eventually, kubectl, kubectl_fed, test_components};

/// The images of the manifests, each with the guest that stands in for it.
const IMAGES: [(&str, &str); 4] = [
    ("omega", "hello"),
    ("oshell", "hello"),
    ("nginx", "hello"),
    ("busybox", "job-print"),
];

/// An empty host that has the images of the manifests.
fn start() -> (Host, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (yaml, images) = (folder.path().join("yaml"), folder.path().join("images"));
    for folder in [&yaml, &images] {
        std::fs::create_dir(folder).expect("a folder");
    }
    for (image, guest) in IMAGES {
        let from = test_components().join(format!("{guest}.wasm"));
        std::fs::copy(&from, images.join(format!("{image}.wasm"))).expect("a guest");
    }
    (Galleria::run(&yaml).components(&images).start(), folder)
}

fn deck(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    let file: PathBuf = folder.join(format!("{name}.yaml"));
    file.display().to_string()
}

#[track_caller]
fn create(host: &Host, name: &str) {
    let created = kubectl(host, &["create", "-f", &deck(name)]);
    assert!(created.ends_with(" created\n"), "{name}: {created}");
}

/// The cells of the row of `kubectl ARGUMENTS` that begins with `name`.
#[track_caller]
fn row(host: &Host, arguments: &[&str], name: &str) -> Vec<String> {
    let table = kubectl(host, arguments);
    let found = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    let row = found.unwrap_or_else(|| unreachable!("no {name} in {table}"));
    row.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn volumes_are_bound_and_mounted() {
    let (host, _folder) = start();
    kubectl(&host, &["create", "namespace", "omega-local"]);
    create(&host, "storageclass-local");
    create(&host, "persistentvolume-local");
    assert_eq!(
        row(&host, &["get", "pv"], "omega-volume-local")[4],
        "Available"
    );
    create(&host, "persistentvolumeclaim-local");
    create(&host, "deployment-omega-local");
    let class = row(&host, &["get", "sc"], "omega-sc-local");
    assert_eq!(
        class[1..5],
        ["k8s.io/minikube-hostpath", "Delete", "Immediate", "false"]
    );
    let volume = row(&host, &["get", "pv"], "omega-volume-local");
    let bound = [
        "10Gi",
        "RWX",
        "Retain",
        "Bound",
        "omega-local/omega-pvc-local",
        "omega-sc-local",
    ];
    assert_eq!(volume[1..7], bound);
    let claim = row(
        &host,
        &["get", "pvc", "-n", "omega-local"],
        "omega-pvc-local",
    );
    assert_eq!(
        claim[1..6],
        [
            "Bound",
            "omega-volume-local",
            "10Gi",
            "RWX",
            "omega-sc-local"
        ]
    );
    let described = kubectl(&host, &["describe", "pvc", "-n", "omega-local"]);
    assert!(described.contains("omega-volume-local"), "{described}");
    eventually("the pods run", || {
        let pods = kubectl(&host, &["get", "pods", "-n", "omega-local"]);
        (pods.matches("Running").count() == 3).then_some(())
    });
    kubectl(&host, &["delete", "-f", &deck("deployment-omega-local")]);
    kubectl(
        &host,
        &["delete", "-f", &deck("persistentvolumeclaim-local")],
    );
    assert_eq!(
        row(&host, &["get", "pv"], "omega-volume-local")[4],
        "Available"
    );
}

#[test]
fn old_versions_are_served_and_converted() {
    let (host, _folder) = start();
    for namespace in ["sigma", "shoppingportal"] {
        kubectl(&host, &["create", "namespace", namespace]);
    }
    create(&host, "deployment-app1pod");
    create(&host, "pdb-app1pod");
    create(&host, "cronjob-hello");
    create(&host, "ingress-shoppingportal");
    for resource in [
        "deploy",
        "deployments.v1beta1.extensions",
        "deployments.v1beta2.apps",
    ] {
        let deployment = row(&host, &["get", resource], "app1pod-deploy");
        assert!(deployment[1].ends_with("/5"), "{resource}: {deployment:?}");
    }
    let all = kubectl(&host, &["get", "all"]);
    assert_eq!(
        all.matches("deployment.apps/app1pod-deploy").count(),
        1,
        "{all}"
    );
    let service = "jsonpath={.items[0].spec.rules[0].http.paths[0].backend.serviceName}";
    let old = [
        "get",
        "ingresses.v1beta1.extensions",
        "-n",
        "shoppingportal",
        "-o",
        service,
    ];
    assert_eq!(kubectl(&host, &old), "k8uiworkshopservice");
    let service = "jsonpath={.items[0].spec.rules[0].http.paths[0].backend.service.name}";
    let new = [
        "get",
        "ingresses.v1.networking.k8s.io",
        "-n",
        "shoppingportal",
        "-o",
        service,
    ];
    assert_eq!(kubectl(&host, &new), "k8uiworkshopservice");

    let oldest = "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: oldest}\n\
                  spec: {template: {metadata: {labels: {app: oldest}}, \
                  spec: {containers: [{name: a, image: nginx}]}}}\n";
    kubectl_fed(&host, &["apply"], oldest);
    let field = |path: &str| kubectl(&host, &["get", "deploy", "oldest", "-o", path]);
    assert_eq!(field("jsonpath={.apiVersion}"), "apps/v1");
    assert_eq!(field("jsonpath={.spec.selector.matchLabels.app}"), "oldest");
    assert_eq!(
        field("jsonpath={.spec.strategy.rollingUpdate.maxSurge}"),
        "1"
    );
    kubectl(
        &host,
        &["rollout", "status", "deploy/oldest", "--timeout=60s"],
    );
    let unchanged = kubectl_fed(&host, &["apply"], oldest);
    assert!(unchanged.contains("unchanged"), "{unchanged}");
}

#[test]
fn daemon_set_has_a_pod_on_the_node() {
    let (host, _folder) = start();
    let set = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\n\
               spec: {selector: {matchLabels: {app: agent}}, template: \
               {metadata: {labels: {app: agent}}, \
               spec: {containers: [{name: a, image: nginx}]}}}\n";
    kubectl(&host, &["cordon", "galleria"]);
    kubectl_fed(&host, &["apply"], set);
    kubectl(&host, &["rollout", "status", "ds/agent", "--timeout=60s"]);
    assert_eq!(
        row(&host, &["get", "ds"], "agent")[1..6],
        ["1", "1", "1", "1", "1"]
    );
    let pods = || kubectl(&host, &["get", "pods", "-l", "app=agent", "-o", "name"]);
    let before = pods();
    kubectl(&host, &["set", "env", "ds/agent", "A=1"]);
    kubectl(&host, &["rollout", "status", "ds/agent", "--timeout=60s"]);
    assert_ne!(pods(), before);
    kubectl(
        &host,
        &["drain", "galleria", "--ignore-daemonsets", "--timeout=60s"],
    );
    assert_eq!(row(&host, &["get", "ds"], "agent")[3], "1");
}

#[test]
fn roles_and_definitions_are_stored_and_shown() {
    let (host, _folder) = start();
    let role = ["create", "role", "reader", "--verb=get", "--resource=pods"];
    kubectl(&host, &role);
    let binding = [
        "create",
        "rolebinding",
        "read",
        "--role=reader",
        "--user=ann",
    ];
    kubectl(&host, &binding);
    assert_eq!(
        row(&host, &["get", "rolebindings"], "read")[1],
        "Role/reader"
    );
    let described = kubectl(&host, &["describe", "role", "reader"]);
    assert!(described.contains("pods"), "{described}");
    let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                      metadata: {name: things.example.com}\n\
                      spec: {group: example.com, scope: Namespaced, \
                      names: {plural: things, kind: Thing}, versions: []}\n";
    kubectl_fed(&host, &["apply"], definition);
    row(&host, &["get", "crd"], "things.example.com");
}
