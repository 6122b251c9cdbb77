//! LimitRange and ResourceQuota: the resources that a namespace's pods may request.

use crate::support::{Galleria, Service, eventually, manifests};

const LIMIT_RANGE: &str = "---
apiVersion: v1
kind: LimitRange
metadata: {name: range, namespace: test}
spec:
  limits:
    - {type: Container, default: {memory: 32Mi, cpu: 500m}, defaultRequest: {cpu: 100m}}
";

const QUOTA: &str = "---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, namespace: test}
spec: {hard: {pods: 2, limits.memory: 64Mi}}
";

/// Two pods whose container sets no resources, and the manifests `more`.
fn folder(more: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::new("bad", "allocate").replicas(2);
    let manifest = manifests(&[service]).replace("{limits: {memory: 64Mi}}", "{}");
    let text = format!("{manifest}{}", more.concat());
    std::fs::write(folder.path().join("test.yaml"), text).expect("a file");
    folder
}

#[test]
fn limit_range_sets_the_memory_limit_that_is_enforced() {
    let folder = folder(&[LIMIT_RANGE, QUOTA]);
    let host = Galleria::run(folder.path()).start();
    assert_eq!(host.get("/bad/allocate").status, 503);
    let output = host.status_page(&["-o", "json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let objects = report["objects"].as_array().expect("objects");
    let pod = objects
        .iter()
        .find(|object| object["kind"] == "Pod")
        .expect("a pod");
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(resources["limits"]["memory"], "32Mi");
    assert_eq!(resources["requests"]["cpu"], "100m");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert_eq!(host.get("/bad/allocate?mib=8").status, 200);
    let killed = host.metric("galleria_guest_failures_total", &["reason=\"OOMKilled\""]);
    assert!(killed >= 1.0, "{killed}");
}

#[test]
fn quota_is_enforced_at_start_and_on_each_change() {
    let without_limits = folder(&[QUOTA]);
    let output = Galleria::run(without_limits.path()).fail();
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("limits.memory must be set"),
        "{}",
        output.stderr
    );

    let folder = folder(&[LIMIT_RANGE, QUOTA]);
    let file = folder.path().join("test.yaml");
    let host = Galleria::run(folder.path()).start();
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, text.replace("replicas: 2", "replicas: 3")).expect("a file");
    let refused = eventually("the change is rejected", || {
        let page = host.status_page(&[]).stdout;
        page.contains("exceeds the quota").then_some(page)
    });
    let asked = "asks for limits.memory 96Mi (3 pods with 32Mi each), 0 of 64Mi are used";
    assert!(refused.contains(asked), "{refused}");
    assert_eq!(
        host.get("/bad/allocate?mib=8").status,
        200,
        "the previous configuration stays in effect"
    );
}
