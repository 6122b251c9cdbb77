//! Pods on their own, ReplicaSets and StatefulSets.

use std::path::Path;

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests, test_components};

struct HostAndFile {
    host: Host,
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
}

impl HostAndFile {
    /// A service `app` with the objects of `yaml`, whose pods may belong to the service
    /// too.
    fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.yaml");
        std::fs::write(&file, text(yaml)).expect("a file");
        let host = Galleria::run(folder.path())
            .argument("--restart-backoff-initial=100ms")
            .start();
        Self {
            host,
            _folder: folder,
            file,
        }
    }

    fn write(&self, yaml: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text(yaml)).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    /// The pods whose names start with `name`.
    fn pods(&self, name: &str) -> Vec<Value> {
        let mut pods = self.host.objects("Pod");
        pods.retain(|pod| self::name(pod).starts_with(name));
        pods
    }

    fn names(&self, name: &str) -> Vec<String> {
        self.pods(name).iter().map(self::name).collect()
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned()
}

fn text(yaml: &str) -> String {
    format!("{}---\n{yaml}", manifests(&[Service::new("app", "hello")]))
}

fn env(object: &Value) -> &Value {
    &object["spec"]["containers"][0]["env"][0]["value"]
}

#[test]
fn pods_and_controllers_of_the_deck_are_endpoints_of_its_service() {
    let deck = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    let folder = tempfile::tempdir().expect("a folder");
    let components = tempfile::tempdir().expect("a folder");
    for file in [
        "configmap-special-config.yaml",
        "deployment-app1pod.yaml",
        "pod-app1pod.yaml",
        "pod-configmap.yaml",
        "pod-customersvc-preset.yaml",
        "pod-env-fieldref.yaml",
        "pod-env-resourcefieldref.yaml",
        "pod-nodeselector.yaml",
        "replicaset-app1pod.yaml",
        "service-app1pod.yaml",
    ] {
        std::fs::copy(deck.join(file), folder.path().join(file)).expect("a file");
    }
    for image in ["omega", "busybox", "nginx"] {
        let image = components.path().join(format!("{image}.wasm"));
        std::fs::copy(test_components().join("hello.wasm"), image).expect("a component");
    }
    let host = Galleria::run(folder.path())
        .components(components.path())
        .start();
    let mut pods: Vec<String> = host.objects("Pod").iter().map(name).collect();
    pods.retain(|name| !name.starts_with("app1pod-"));
    pods.sort();
    let alone = [
        "app1pod",
        "customersvc",
        "dapi-envars-fieldref",
        "dapi-envars-resourcefieldref",
        "nginx",
        "pod-configmap",
    ];
    assert_eq!(pods, alone);
    let status = &host.object("ReplicaSet", "app1pod-rs")["status"];
    assert_eq!(status["readyReplicas"], 5, "{status}");
    let status = &host.object("Pod", "nginx")["status"];
    assert_eq!(status["phase"], "Running", "{status}");
}

const SETS: &str = "apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: set, namespace: test}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
        - name: main
          image: hello
          ports: [{containerPort: 8080}]
          env: [{name: VERSION, value: one}]
---
apiVersion: v1
kind: Pod
metadata: {name: alone, namespace: test, labels: {app: app}}
spec:
  containers:
    - name: main
      image: hello
      ports: [{containerPort: 8080}]
      env: [{name: VERSION, value: one}]
";

#[test]
fn replica_set_keeps_its_pods_and_a_changed_pod_is_created_again() {
    let shop = HostAndFile::start(SETS);
    let before = shop.names("set-");
    assert_eq!(before.len(), 2);
    let owner = &shop.pods("set-")[0]["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&"ReplicaSet".into(), &"set".into())
    );
    for _ in 0..50 {
        assert_eq!(shop.host.get("/app/").status, 200);
    }
    let answered: Vec<_> = ["set-", "alone"]
        .iter()
        .map(|pod| {
            let workload = format!("destination_workload=\"{}\"", pod.trim_end_matches('-'));
            shop.host.metric("istio_requests_total", &[&workload])
        })
        .collect();
    assert!(answered.iter().all(|count| *count > 0.0), "{answered:?}");

    let changed = SETS
        .replace("replicas: 2", "replicas: 3")
        .replace("value: one", "value: two");
    shop.write(&changed);
    eventually("the third pod is ready", || {
        (shop.names("set-").len() == 3).then_some(())
    });
    let pods = shop.pods("set-");
    assert!(
        before
            .iter()
            .all(|old| pods.iter().any(|pod| name(pod) == *old))
    );
    let two = pods.iter().filter(|pod| *env(pod) == "two").count();
    assert_eq!(two, 1, "a changed template applies only to new pods");
    eventually("the pod has its new environment", || {
        let pod = shop.host.object("Pod", "alone");
        let is_ready = pod["status"]["containerStatuses"][0]["ready"] == true;
        (*env(&pod) == "two" && is_ready).then_some(())
    });
}

#[test]
fn pod_that_is_never_restarted_stays_failed() {
    let pod = "apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: test}
spec:
  restartPolicy: Never
  containers: [{name: main, image: crash-at-start}]
";
    let shop = HostAndFile::start(pod);
    let status = eventually("the pod has failed", || {
        let status = shop.host.object("Pod", "bad")["status"].clone();
        (status["phase"] == "Failed").then_some(status)
    });
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 0, "{status}");
    assert!(
        container["state"]["terminated"]["reason"].is_string(),
        "{status}"
    );
    assert!(
        shop.host.stderr().contains("failed"),
        "the failure is logged"
    );
    shop.write(&pod.replace("crash-at-start", "hello"));
    eventually("the corrected pod runs", || {
        let pod = shop.host.object("Pod", "bad");
        (pod["status"]["phase"] == "Running").then_some(())
    });
}

#[test]
fn stateful_set_pods_keep_their_names_order_and_claims() {
    let set = |replicas: u32, version: &str, partition: u32| {
        format!(
            "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: test}}
spec:
  replicas: {replicas}
  updateStrategy: {{rollingUpdate: {{partition: {partition}}}}}
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      containers:
        - name: main
          image: hello
          env: [{{name: VERSION, value: {version}}}]
          volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
    - metadata: {{name: data}}
      spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
"
        )
    };
    let shop = HostAndFile::start(&set(2, "one", 0));
    assert_eq!(shop.names("db-"), ["db-0", "db-1"]);
    let created = |pod: &Value| pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"].clone();
    let pods = shop.pods("db-");
    assert_eq!([created(&pods[0]), created(&pods[1])], ["0", "1"]);
    for claim in ["data-db-0", "data-db-1"] {
        let folder = shop.host.data.join("volumes/test").join(claim);
        assert!(folder.is_dir(), "{}", folder.display());
    }

    let settled = |versions: &[&str]| {
        eventually("the StatefulSet has its pods", || {
            let pods = shop.pods("db-");
            let as_wanted = pods.iter().map(env).eq(versions.iter());
            let status = &shop.host.object("StatefulSet", "db")["status"];
            (as_wanted && status["readyReplicas"] == versions.len()).then_some(())
        });
    };
    shop.write(&set(2, "two", 1));
    settled(&["one", "two"]);
    let status = &shop.host.object("StatefulSet", "db")["status"];
    assert_eq!(
        (&status["currentReplicas"], &status["updatedReplicas"]),
        (&1.into(), &1.into())
    );
    shop.write(&set(3, "two", 0));
    settled(&["two", "two", "two"]);
    shop.write(&set(1, "two", 0));
    settled(&["two"]);
    let kept = shop.host.data.join("volumes/test/data-db-2");
    assert!(kept.is_dir(), "claims are kept when their pods are removed");
}
