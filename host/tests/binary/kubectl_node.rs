//! kubectl of operators: `cordon`, `drain`, `uncordon`, `taint`, `label nodes`.

use serde_json::Value;

use crate::support::{
    Galleria, Host, Service, eventually, kubeconfig, kubectl, kubectl_fed, kubectl_with, manifests,
    refused_fed,
};

/// A host with the Deployment `good` of two pods, and the manifests `more`.
fn start(more: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = manifests(&[Service::new("good", "hello").replicas(2)]);
    std::fs::write(&file, format!("{good}{more}")).expect("a file");
    Galleria::run(file).start()
}

#[track_caller]
fn in_test(host: &Host, arguments: &[&str]) -> String {
    kubectl(host, &[arguments, &["-n", "test"]].concat())
}

/// The phases of the pods with this label `app`, in order.
fn phases(host: &Host, app: &str) -> Vec<String> {
    let label = format!("app={app}");
    let path = "jsonpath={.items[*].status.phase}";
    let phases = in_test(host, &["get", "pods", "-l", &label, "-o", path]);
    let mut phases: Vec<_> = phases.split_whitespace().map(str::to_owned).collect();
    phases.sort();
    phases
}

#[track_caller]
fn wait_for(host: &Host, app: &str, expected: &[&str]) {
    eventually(&format!("the pods of {app} are {expected:?}"), || {
        (phases(host, app) == expected).then_some(())
    });
}

#[test]
fn cordon_keeps_new_pods_away_and_labels_stay() {
    let host = start("");
    kubectl(&host, &["cordon", "galleria"]);
    let nodes = kubectl(&host, &["get", "nodes"]);
    assert!(nodes.contains("Ready,SchedulingDisabled"), "{nodes}");
    in_test(&host, &["scale", "deploy/good", "--replicas=3"]);
    wait_for(&host, "good", &["Pending", "Running", "Running"]);
    let pods = in_test(&host, &["get", "pods", "-o", "wide"]);
    assert!(
        pods.contains("Pending") && pods.contains("<none>"),
        "{pods}"
    );
    let events = in_test(
        &host,
        &["get", "events", "--field-selector=reason=FailedScheduling"],
    );
    assert!(events.contains("1 node(s) were unschedulable"), "{events}");
    assert_eq!(host.get("/good/").body, "hello\n");

    kubectl(&host, &["label", "nodes", "galleria", "disktype=ssd"]);
    kubectl(&host, &["uncordon", "galleria"]);
    in_test(
        &host,
        &["rollout", "status", "deploy/good", "--timeout=60s"],
    );
    let labelled = kubectl(&host, &["get", "nodes", "-l", "disktype=ssd", "-o", "name"]);
    assert_eq!(labelled, "node/galleria\n");
    let ready = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(kubectl(&host, &["get", "nodes", "-o", ready]), "True");
    let other = "apiVersion: v1\nkind: Node\nmetadata: {name: other}\n";
    let refused = refused_fed(&host, &["create"], other);
    assert!(refused.contains("the only node"), "{refused}");
}

#[test]
fn drain_evicts_as_budgets_allow_and_evicted_pods_are_pending() {
    let job = "---
apiVersion: batch/v1
kind: Job
metadata: {name: sleeper, namespace: test}
spec:
  template:
    metadata: {labels: {app: sleeper}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: job-sleep, args: ['600000']}]
";
    let host = start(job);
    let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\n\
                  metadata: {name: keep, namespace: test}\n\
                  spec: {minAvailable: 1, selector: {matchLabels: {app: good}}}\n";
    kubectl_fed(&host, &["apply"], budget);
    let drain = |timeout: &str| {
        let config = kubeconfig(&host, &[]);
        let timeout = format!("--timeout={timeout}");
        let flags = ["drain", "galleria", "--ignore-daemonsets", &timeout];
        kubectl_with(&host, &config, &flags)
    };
    let refused = drain("2s");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("violate the pod's disruption budget"),
        "{refused:?}"
    );
    wait_for(&host, "good", &["Pending", "Running"]);
    wait_for(&host, "sleeper", &["Pending"]);
    assert_eq!(host.get("/good/").body, "hello\n");

    in_test(&host, &["delete", "pdb", "keep"]);
    let drained = drain("60s");
    assert_eq!(drained.code, Some(0), "{drained:?}");
    wait_for(&host, "good", &["Pending", "Pending"]);
    assert_eq!(host.get("/good/").status, 503);

    kubectl(&host, &["uncordon", "galleria"]);
    in_test(
        &host,
        &["rollout", "status", "deploy/good", "--timeout=60s"],
    );
    wait_for(&host, "sleeper", &["Running"]);
    assert_eq!(host.get("/good/").body, "hello\n");
}

#[test]
fn taints_keep_away_and_evict_pods_that_do_not_tolerate_them() {
    let tolerant = manifests(&[Service::new("tough", "hello")]).replace(
        "      containers:",
        "      tolerations: [{key: repair, operator: Exists}]\n      containers:",
    );
    let tolerant = tolerant
        .split("---\n")
        .filter(|it| it.contains("name: tough,"));
    let tolerant: Vec<_> = tolerant.collect();
    let host = start(&format!("---\n{}", tolerant.join("---\n")));
    kubectl(
        &host,
        &["taint", "nodes", "galleria", "repair=now:NoSchedule"],
    );
    in_test(&host, &["scale", "deploy/good", "--replicas=3"]);
    wait_for(&host, "good", &["Pending", "Running", "Running"]);
    in_test(&host, &["scale", "deploy/tough", "--replicas=2"]);
    wait_for(&host, "tough", &["Running", "Running"]);
    kubectl(
        &host,
        &["taint", "nodes", "galleria", "repair=now:NoExecute"],
    );
    wait_for(&host, "good", &["Pending", "Pending", "Pending"]);
    wait_for(&host, "tough", &["Running", "Running"]);
    let node: Value =
        serde_json::from_str(&kubectl(&host, &["get", "node", "galleria", "-o", "json"]))
            .expect("JSON");
    assert_eq!(
        node["spec"]["taints"].as_array().map(Vec::len),
        Some(2),
        "{node}"
    );
    kubectl(&host, &["taint", "nodes", "galleria", "repair-"]);
    in_test(
        &host,
        &["rollout", "status", "deploy/good", "--timeout=60s"],
    );
}
