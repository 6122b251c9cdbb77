//! Traffic management by scenario: VirtualServices and DestinationRules as users write
//! them, and the resulting responses, metrics and log lines.

mod balancing;
mod edge;
mod explain;
mod external;
mod external_tls;
mod matching;
mod mirroring;
mod network_policy;
mod release;
mod resilience;
mod rules;

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Galleria, Host, Service, apart, eventually, manifests};

/// The annotation that makes an instance serve many requests, and so keep state.
const ISOLATION: &str = "galleria.dev/isolation";

/// A host and the manifest file that it watches. With `GALLERIA_TEST_TOPOLOGY=apart`, a
/// gateway and one host per pod; the results of a scenario are the same.
struct Shop {
    /// The host that receives the requests.
    host: Host,
    /// The other hosts.
    pods: Vec<Host>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Shop {
    fn start(manifest: &str) -> Self {
        Self::start_with(manifest, &[])
    }

    fn start_with(manifest: &str, arguments: &[&str]) -> Self {
        match std::env::var("GALLERIA_TEST_TOPOLOGY").as_deref() {
            Ok("apart") => Self::start_apart(manifest, arguments),
            _ => Self::start_under_one_roof(manifest, arguments),
        }
    }

    /// Starts a single host regardless of the topology, for scenarios such as scaling
    /// that need all pods in one host.
    fn start_under_one_roof(manifest: &str, arguments: &[&str]) -> Self {
        let (folder, file) = written(manifest);
        let host = Galleria::run(folder.path()).arguments(arguments);
        Self {
            host: host.start(),
            pods: Vec::new(),
            file,
            _folder: folder,
        }
    }

    fn start_apart(manifest: &str, arguments: &[&str]) -> Self {
        let (folder, file) = written(manifest);
        let pods = apart::pods(manifest);
        let peers: Vec<String> = pods.iter().map(apart::Pod::peer).collect();
        let host = || {
            let host = Galleria::run(folder.path()).arguments(arguments);
            host.arguments(&peers).argument(apart::CALLERS)
        };
        let of_pod = |pod: &apart::Pod| host().declared_ports().arguments(&pod.arguments());
        Self {
            pods: pods.iter().map(|pod| of_pod(pod).start()).collect(),
            host: host().argument("--gateway").start(),
            file,
            _folder: folder,
        }
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.pods.iter().chain([&self.host])
    }

    /// Replaces the manifest file atomically.
    fn write(&self, manifest: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, manifest).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    /// The version that responds, as reported by the guest `env`.
    #[track_caller]
    fn version(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.host.get_with(path, headers);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["VERSION"].as_str().expect("it").to_owned()
    }

    /// Calls of `path` in the access log, once there are `count` of them.
    #[track_caller]
    fn calls(&self, path: &str, count: usize) -> Vec<Value> {
        eventually("the access log has the expected number of lines", || {
            let calls = self.hosts().flat_map(Host::calls);
            let calls: Vec<_> = calls
                .filter(|call| call["path"] == path && !apart::is_inbound(call))
                .collect();
            (calls.len() >= count).then_some(calls)
        })
    }

    /// Waits until the source has counted `count` requests with these labels.
    #[track_caller]
    fn counted(&self, labels: &[&str], count: f64) {
        let labels: Vec<&str> = labels
            .iter()
            .copied()
            .chain(["reporter=\"source\""])
            .collect();
        eventually(&format!("{count} requests counted with {labels:?}"), || {
            let counts = self
                .hosts()
                .map(|it| it.metric("istio_requests_total", &labels));
            (counts.sum::<f64>() == count).then_some(())
        });
    }
}

fn written(manifest: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifest).expect("a file");
    (folder, file)
}

/// Services, with rules that precede the one of each service, and further documents.
fn with_rules(services: &[Service], rules: &str, documents: &[String]) -> String {
    let mut yaml = manifests(services).replacen("  http:\n", &format!("  http:\n{rules}"), 1);
    for document in documents {
        yaml.push_str("---\n");
        yaml.push_str(document);
    }
    yaml
}

/// The service `app` in two versions whose responses name the version.
fn two_versions() -> [Service; 2] {
    [
        Service::new("app", "env").env("VERSION", "v1"),
        Service::version("app", "v2", "env").env("VERSION", "v2"),
    ]
}

/// A DestinationRule for the service `host`; `spec` is not indented.
fn destination_rule(host: &str, spec: &str) -> String {
    let spec = spec.trim_end().replace('\n', "\n  ");
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: test}}
spec:
  host: {host}
  {spec}
"
    )
}

/// The subsets `v1` and `v2` of `app`.
fn subsets() -> String {
    destination_rule(
        "app",
        "subsets:\n- {name: v1, labels: {version: v1}}\n- {name: v2, labels: {version: v2}}",
    )
}

/// The response flags of an access log line.
fn flags(call: &Value) -> &str {
    call["response_flags"].as_str().expect("flags")
}
