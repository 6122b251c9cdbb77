//! Runs the pods of the manifests with podman (`podman kube play`), without a cluster.
//!
//! Only the parts that podman 4.3 interprets differently from a kubelet are changed: it
//! does not decode Secrets, so they are passed as ConfigMaps; it publishes every port
//! under its own number, so each gets a free one; volumes of different pods with the same
//! name are one volume, so their names get the pod's name as a prefix; it runs probes
//! with a curl that the images do not have, so the tests send the requests themselves.

use std::fs;
use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Container, Network, image, podman, postgresql, printed};

use super::rendered::ManifestObject;

/// A namespace on this machine; removed with its test.
pub struct Namespace {
    objects: Vec<ManifestObject>,
    network: Network,
    folder: tempfile::TempDir,
    pods: Vec<String>,
    volumes: Vec<String>,
}

impl Namespace {
    /// A namespace with these objects, none of which is started.
    pub fn of(objects: Vec<ManifestObject>) -> Self {
        image();
        postgresql();
        Self {
            objects,
            network: Network::create(),
            folder: tempfile::tempdir().expect("a folder"),
            pods: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// The names of all workloads of a kind.
    pub fn workloads(&self, kind: &str) -> Vec<String> {
        let of_kind = self.objects.iter().filter(|it| it.kind() == kind);
        of_kind.map(|it| it.name().to_owned()).collect()
    }

    /// Starts the pod of a workload, which other pods reach as `host_name`.
    pub fn play(&mut self, kind: &str, name: &str, host_name: &str) -> Container {
        let is_it = |it: &&ManifestObject| it.kind() == kind && it.name() == name;
        let workload = self.objects.iter().find(is_it).expect("the workload");
        let workload = workload.object.clone();
        let mut documents = Vec::new();
        let workload = self.renamed(workload, &mut documents);
        documents.push(workload);
        let file = self.folder.path().join(format!("{name}.yaml"));
        let text = documents.iter().map(|it| format!("---\n{it}\n"));
        fs::write(&file, text.collect::<String>()).expect("the manifests are written");
        let network = format!("--network={}:alias={host_name}", self.network.name());
        let said = printed(podman(["kube", "play", &network]).arg(file));
        let after = |heading| {
            let mut lines = said.lines().skip_while(|line| *line != heading);
            lines
                .nth(1)
                .unwrap_or_else(|| panic!("no {heading}\n{said}"))
        };
        self.pods.push(after("Pod:").into());
        Container::named(after("Container:"))
    }

    /// The workload under a name that no other test uses, adapted for podman; the objects
    /// that its pod mounts are added to `documents`.
    fn renamed(&mut self, mut workload: Value, documents: &mut Vec<Value>) -> Value {
        let name = workload["metadata"]["name"].as_str().expect("a name");
        let name = self.own(name);
        let template = match workload["kind"].as_str() {
            Some("CronJob") => workload["spec"]["jobTemplate"]["spec"]["template"].take(),
            _ => workload["spec"]["template"].take(),
        };
        let mut spec = template["spec"].clone();
        let claims = workload["spec"]["volumeClaimTemplates"].as_array().cloned();
        for claim in claims.into_iter().flatten() {
            let volume = &claim["metadata"]["name"];
            let own = format!("{}-{name}", volume.as_str().expect("a name"));
            let source = json!({"claimName": own});
            let volumes = spec["volumes"].as_array_mut().expect("volumes");
            volumes.push(json!({"name": volume, "persistentVolumeClaim": source}));
            documents.push(claimed(&own, &claim["spec"]));
            self.volumes.push(own);
        }
        for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
            self.mount(volume, documents);
            let own = of_pod(&name, &volume["name"]);
            if volume["emptyDir"].is_object() {
                self.volumes.push(own.clone());
            }
            volume["name"] = json!(own);
        }
        for container in spec["containers"].as_array_mut().into_iter().flatten() {
            self.fit(container, documents);
            let mounts = container["volumeMounts"].as_array_mut();
            for mount in mounts.into_iter().flatten() {
                mount["name"] = json!(of_pod(&name, &mount["name"]));
            }
        }
        match workload["kind"].as_str() {
            Some("Deployment") => {
                workload["metadata"]["name"] = json!(name);
                workload["spec"]["template"] = template;
                workload["spec"]["template"]["spec"] = spec;
                workload
            }
            _ => {
                let metadata = json!({"name": name, "labels": template["metadata"]["labels"]});
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
            }
        }
    }

    /// Gives a volume the name of the object that it mounts.
    fn mount(&mut self, volume: &mut Value, documents: &mut Vec<Value>) {
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            *volume = json!({"name": volume["name"], "configMap": {"name": secret}});
        }
        if let Some(name) = volume["configMap"]["name"].as_str().map(str::to_owned) {
            volume["configMap"] = json!({"name": self.configuration(&name, documents)});
        }
        let claim = &volume["persistentVolumeClaim"]["claimName"];
        let Some(claim) = claim.as_str().map(str::to_owned) else {
            return;
        };
        let is_it =
            |it: &&ManifestObject| it.kind() == "PersistentVolumeClaim" && it.name() == claim;
        let Some(found) = self.objects.iter().find(is_it) else {
            return; // from a claim template: the name is already unique
        };
        let own = self.own(&claim);
        if !self.volumes.contains(&own) {
            documents.push(claimed(&own, &found.object["spec"]));
            self.volumes.push(own.clone());
        }
        volume["persistentVolumeClaim"]["claimName"] = json!(own);
    }

    /// Adapts the fields of a container that podman interprets differently.
    fn fit(&mut self, container: &mut Value, documents: &mut Vec<Value>) {
        let container = container.as_object_mut().expect("a container");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            container.remove(probe);
        }
        let ports = container.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            port["hostIP"] = json!("127.0.0.1");
            port["hostPort"] = json!(free_port());
        }
        let variables = container.get_mut("env").and_then(Value::as_array_mut);
        for variable in variables.into_iter().flatten() {
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let Some(name) = secret["name"].as_str().map(str::to_owned) else {
                continue;
            };
            let own = self.configuration(&name, documents);
            let key = json!({"name": own, "key": secret["key"]});
            variable["valueFrom"] = json!({"configMapKeyRef": key});
        }
    }

    /// Adds a ConfigMap, or a Secret as a ConfigMap, and returns its name.
    fn configuration(&mut self, name: &str, documents: &mut Vec<Value>) -> String {
        let kinds = ["ConfigMap", "Secret"];
        let is_it = |it: &&ManifestObject| kinds.contains(&it.kind()) && it.name() == name;
        let found = self.objects.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{name} is mounted but does not exist"));
        let mut data = found.object["data"].clone();
        if found.kind() == "Secret" {
            for value in data.as_object_mut().expect("data").values_mut() {
                *value = json!(decoded(value.as_str().expect("a text")));
            }
        }
        let own = self.own(name);
        let metadata = json!({"name": own});
        documents.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
        );
        if !self.volumes.contains(&own) {
            self.volumes.push(own.clone());
        }
        own
    }

    /// A name that no other test uses.
    fn own(&self, name: &str) -> String {
        format!("{name}-{}", self.network.name())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failed test has reported its error already.
        let mut remove = podman(["pod", "rm", "--force", "--ignore", "--time", "0"]);
        let _ = remove.args(&self.pods).output();
        let mut remove = podman(["volume", "rm"]);
        let _ = remove.args(&self.volumes).output();
    }
}

/// The name of a pod's volume, unique among all pods.
fn of_pod(pod: &str, volume: &Value) -> String {
    format!("{pod}-{}", volume.as_str().expect("a name"))
}

fn claimed(name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name});
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
}

/// Decodes the base64 value of a Secret.
fn decoded(value: &str) -> String {
    let bytes = STANDARD.decode(value).expect("base64");
    String::from_utf8(bytes).expect("a text")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}
