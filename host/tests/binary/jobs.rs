//! Jobs and CronJobs: components that run to completion.

mod cron_jobs;
mod endings;
mod pods;
mod restarts;

use serde_json::Value;

use crate::support::{Galleria, Host, eventually};

/// A Job in namespace `test` with one container `main`.
struct Job {
    name: &'static str,
    image: &'static str,
    arguments: Vec<String>,
    /// Lines below `spec`.
    spec: &'static str,
    restart_policy: &'static str,
    /// Lines below the pod's `spec`.
    pod: &'static str,
    /// Lines below the container.
    container: &'static str,
}

impl Job {
    fn new(name: &'static str, image: &'static str, arguments: &[&str]) -> Self {
        Self {
            name,
            image,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            spec: "",
            restart_policy: "Never",
            pod: "",
            container: "",
        }
    }

    /// The manifest of the Job.
    fn yaml(&self) -> String {
        format!(
            "---
apiVersion: batch/v1
kind: Job
metadata: {{name: {}, namespace: test}}
spec: {}
",
            self.name,
            self.spec_yaml()
        )
    }

    /// A CronJob that creates this Job; `fields` are lines below its `spec`.
    fn cron_yaml(&self, schedule: &str, fields: &str) -> String {
        format!(
            "---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {}, namespace: test}}
spec:
  schedule: {schedule:?}
  {fields}
  jobTemplate:
    spec: {}
",
            self.name,
            self.spec_yaml()
        )
    }

    /// In flow style, so that it fits at any depth.
    fn spec_yaml(&self) -> String {
        let Self {
            image,
            arguments,
            spec,
            restart_policy,
            pod,
            container,
            ..
        } = self;
        format!(
            "{{ {spec} template: {{metadata: {{labels: {{app: jobs}}}}, spec: {{ {pod}
      restartPolicy: {restart_policy}, containers: [
        {{ {container} name: main, image: {image}, args: {arguments:?}, resources: {{limits: {{memory: 64Mi}}}} }}]}}}}}}"
        )
    }
}

/// A claim `data` in namespace `test`.
const CLAIM: &str = "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: test}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// Mounts the claim at /data: lines for the pod and for the container.
const VOLUME: &str = "volumes: [{name: data, persistentVolumeClaim: {claimName: data}}],";
const MOUNT: &str = "volumeMounts: [{name: data, mountPath: /data}],";

/// A host for one file, which the test may change.
fn host_for(yaml: &str) -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, format!("{NAMESPACE}{yaml}")).expect("a file");
    let host = Galleria::run(folder.path())
        .argument("--restart-backoff-initial=50ms")
        .start();
    (folder, host)
}

const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: test}
";

/// The output of `galleria status -o json`.
fn report(host: &Host) -> Value {
    let page = host.status_page(&["-o", "json"]);
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    serde_json::from_str(&page.stdout).expect("a report")
}

/// The Job of this name in the report.
fn job(host: &Host, name: &str) -> Option<Value> {
    let report = report(host);
    let jobs = report["jobs"].as_array().expect("a list");
    jobs.iter().find(|job| job["name"] == name).cloned()
}

/// Waits until the Job has the phase `phase`.
#[track_caller]
fn ended(host: &Host, name: &str, phase: &str) -> Value {
    eventually(&format!("job {name} is {phase}"), || {
        job(host, name).filter(|job| job["phase"] == phase)
    })
}

/// The lines that the pods of a Job printed, each with its pod.
fn printed(host: &Host, workload: &str) -> Vec<(String, String)> {
    let stdout = host.stdout();
    let lines = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["workload"] == workload)
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("pod"), text("message"))
        })
        .collect()
}

/// Only the lines.
fn messages(host: &Host, workload: &str) -> Vec<String> {
    printed(host, workload)
        .into_iter()
        .map(|(_, message)| message)
        .collect()
}
