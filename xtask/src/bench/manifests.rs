//! Manifests of the races: a gateway on port 80, routes, and workloads.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const FILE: &str = "bench.yaml";

/// The YAML of a namespace `bench`, which is the same with every run.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifests {
    rules: String,
    workloads: String,
}

/// A Deployment of a guest, and its Service.
#[derive(Debug, Clone, Default)]
pub(super) struct Workload<'a> {
    pub(super) name: &'a str,
    /// The name of the guest.
    pub(super) image: &'a str,
    /// `galleria.dev/isolation`; the default of the host if it is empty.
    pub(super) isolation: &'a str,
    /// `limits.cpu`; none if it is empty.
    pub(super) cpu: &'a str,
    /// Whether it has a volume at `/data`.
    pub(super) data: bool,
    /// A change of this value rolls the Deployment out.
    pub(super) revision: u32,
}

impl Manifests {
    /// One reused or fresh instance of a guest behind `/`.
    pub(super) fn single(image: &str, isolation: &str) -> Self {
        let workload = Workload {
            name: "app",
            image,
            isolation,
            ..Workload::default()
        };
        Self::default().workload(&workload).rule("", "app")
    }

    /// Adds a rule after the others, with these fields besides its route, such as `match:
    /// [{uri: {exact: /}}]`; without `match`, it matches every request.
    pub(super) fn rule(mut self, fields: &str, host: &str) -> Self {
        let separator = if fields.is_empty() { "" } else { ", " };
        let _ = writeln!(
            self.rules,
            "    - {{{fields}{separator}route: [{{destination: {{host: {host}}}}}]}}"
        );
        self
    }

    pub(super) fn workload(mut self, workload: &Workload) -> Self {
        workload.write(&mut self.workloads);
        self
    }

    /// Writes them into a folder, and returns the folder.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let write = || format!("cannot write {}", folder.display());
        fs::create_dir_all(folder).with_context(write)?;
        // A running host may be watching the file.
        let unfinished = folder.join("unfinished");
        fs::write(&unfinished, self.yaml()).with_context(write)?;
        fs::rename(&unfinished, folder.join(FILE)).with_context(write)?;
        Ok(folder.to_owned())
    }

    fn yaml(&self) -> String {
        let Self { rules, workloads } = self;
        format!(
            "apiVersion: v1
kind: Namespace
metadata: {{name: bench}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gateway, namespace: bench}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [\"*\"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: routes, namespace: bench}}
spec:
  hosts: [\"*\"]
  gateways: [gateway]
  http:
{rules}{workloads}"
        )
    }
}

impl Workload<'_> {
    fn write(&self, yaml: &mut String) {
        let Self {
            name,
            image,
            revision,
            ..
        } = self;
        let annotations = match self.isolation {
            "" => String::new(),
            isolation => format!("galleria.dev/isolation: {isolation}"),
        };
        let limits = match self.cpu {
            "" => String::new(),
            cpu => format!("cpu: {cpu}"),
        };
        let _ = write!(
            yaml,
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: bench}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: bench}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{{annotations}}}
    spec:
      containers:
        - name: main
          image: {image}:v1
          ports: [{{containerPort: 8080}}]
          resources: {{limits: {{{limits}}}}}
          env: [{{name: REVISION, value: \"{revision}\"}}]
"
        );
        if self.data {
            let _ = write!(
                yaml,
                "          volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: bench}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"
            );
        }
    }
}
