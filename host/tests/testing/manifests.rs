//! Small manifests for tests: a gateway on port 80, and services.

use std::fmt::Write;

/// A service with one Deployment, reachable under `/NAME`.
pub struct Service {
    name: &'static str,
    /// The service that selects its pods, and its label `version`.
    behind: Option<(&'static str, &'static str)>,
    image: &'static str,
    replicas: u32,
    annotations: Vec<(&'static str, String)>,
    environment: Vec<(String, String)>,
    probes: Vec<(&'static str, &'static str)>,
    memory: &'static str,
    rollout: String,
    cpu: Option<&'static str>,
}

impl Service {
    /// A service `name` that runs the guest `image`.
    pub fn new(name: &'static str, image: &'static str) -> Self {
        Self {
            name,
            behind: None,
            image,
            replicas: 1,
            annotations: Vec::new(),
            environment: Vec::new(),
            probes: Vec::new(),
            memory: "64Mi",
            rollout: String::new(),
            cpu: None,
        }
    }

    /// Only a Deployment, `NAME-VERSION`, whose pods belong to the service `name`.
    pub fn version(name: &'static str, version: &'static str, image: &'static str) -> Self {
        Self {
            behind: Some((name, version)),
            ..Self::new(name, image)
        }
    }

    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    pub fn annotation(mut self, name: &'static str, value: &str) -> Self {
        self.annotations.push((name, value.to_string()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Fields of the Deployment's `spec`, as `name: value; name: value`.
    pub fn rollout(mut self, fields: &str) -> Self {
        self.rollout = fields
            .split("; ")
            .map(|field| format!("  {field}\n"))
            .collect();
        self
    }

    /// A probe by its field and its YAML: `livenessProbe`, `{httpGet: …}`.
    pub fn probe(mut self, field: &'static str, probe: &'static str) -> Self {
        self.probes.push((field, probe));
        self
    }

    pub fn memory(mut self, limit: &'static str) -> Self {
        self.memory = limit;
        self
    }

    /// `limits.cpu`; none by default.
    pub fn cpu(mut self, limit: &'static str) -> Self {
        self.cpu = Some(limit);
        self
    }

    fn write(&self, yaml: &mut String) {
        let Self {
            name,
            image,
            replicas,
            memory,
            rollout,
            ..
        } = self;
        let cpu = self.cpu.map(|cpu| format!(", cpu: {cpu}"));
        let cpu = cpu.unwrap_or_default();
        let (app, version) = self.behind.unwrap_or((name, "v1"));
        let deployment = match self.behind {
            Some((app, version)) => format!("{app}-{version}"),
            None => (*name).to_owned(),
        };
        if self.behind.is_none() {
            let _ = write!(
                yaml,
                "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: test}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"
            );
        }
        let _ = write!(
            yaml,
            "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {deployment}, namespace: test}}
spec:
  replicas: {replicas}
{rollout}  selector: {{matchLabels: {{app: {app}, version: {version}}}}}
  template:
    metadata:
      labels: {{app: {app}, version: {version}}}
      annotations: {{{}}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
        - name: main
          image: {image}
          ports: [{{containerPort: 8080}}]
          resources: {{limits: {{memory: {memory}{cpu}}}}}
          env: [{}]
",
            pairs(&self.annotations, |(name, value)| format!(
                "{name}: {value:?}"
            )),
            pairs(&self.environment, |(name, value)| format!(
                "{{name: {name}, value: {value:?}}}"
            )),
        );
        for (field, probe) in &self.probes {
            let _ = writeln!(yaml, "          {field}: {probe}");
        }
    }
}

fn pairs<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    items.iter().map(write).collect::<Vec<_>>().join(", ")
}

/// A gateway, and a route `/NAME` to each service that removes the prefix.
pub fn manifests(services: &[Service]) -> String {
    let mut yaml = String::from(
        "apiVersion: v1
kind: Namespace
metadata: {name: test}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: test}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: test}
spec:
  hosts: [\"*\"]
  gateways: [gateway]
  http:
",
    );
    let routed = services.iter().filter(|service| service.behind.is_none());
    for Service { name, .. } in routed {
        let _ = write!(
            yaml,
            "    - name: {name}
      match: [{{uri: {{prefix: /{name}/}}}}]
      rewrite: {{uri: /}}
      route: [{{destination: {{host: {name}}}}}]
"
        );
    }
    for service in services {
        service.write(&mut yaml);
    }
    yaml
}
