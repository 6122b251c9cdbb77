//! NetworkPolicies over nine pods: `a`, `b` and `c` in each of the namespaces `x`, `y` and
//! `z`, as the end-to-end tests of Kubernetes have them. Each pod has the label `pod` with
//! its name and the ports `serve-80` and `serve-81`; the namespaces `x` and `y` have the
//! label `ns` with their name, and `z` is not declared.

mod deck;
mod explain;
mod peers;
mod pods;
mod random;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use galleria_manifest::model::{ContainerPort, Labels};
use galleria_mesh::inbound::Peer;
use galleria_mesh::inbound::network::{NetworkDenial, decide};
use galleria_mesh::{Location, Options, Pod, Snapshot, State, Workload, compile};

use crate::world::read;

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];

const DECLARED: &str = "apiVersion: v1
kind: Namespace
metadata: {name: x, labels: {ns: x}}
---
apiVersion: v1
kind: Namespace
metadata: {name: y, labels: {ns: y, team: blue}}
---
";

/// A cluster with some policies.
struct Cluster {
    snapshot: Snapshot,
    workloads: Vec<Arc<Workload>>,
}

impl Cluster {
    /// The nine pods.
    fn of_nine(yaml: &str) -> Self {
        let names = NAMESPACES.iter().flat_map(|ns| PODS.map(|pod| (*ns, pod)));
        let workload = |(namespace, name): (&str, &str)| {
            let labels = Labels::from([("pod".to_owned(), name.to_owned())]);
            Arc::new(Workload::new(namespace, name, "default", labels))
        };
        Self::new(&format!("{DECLARED}{yaml}"), names.map(workload).collect())
    }

    fn new(yaml: &str, workloads: Vec<Arc<Workload>>) -> Self {
        let port = |number: u16| ContainerPort {
            name: Some(format!("serve-{number}")),
            container_port: number,
        };
        let pods = workloads.iter().enumerate().map(|(index, workload)| Pod {
            name: format!("{}-0", workload.name),
            workload: workload.clone(),
            labels: workload.labels.clone(),
            ports: vec![port(80), port(81)],
            ready: Arc::new(AtomicBool::new(true)),
            location: Location::Here(index),
        });
        let pods: Vec<Pod> = pods.collect();
        let state = State::new(Instant::now());
        Self {
            snapshot: compile(&read(yaml), &pods, &Options::default(), &state).snapshot,
            workloads,
        }
    }

    /// A workload by `namespace/name`.
    fn workload(&self, name: &str) -> &Arc<Workload> {
        let mut all = self.workloads.iter();
        all.find(|it| full_name(it) == name)
            .expect("there is such a workload")
    }

    /// Whether `destination` accepts a connection of `peer`.
    fn accepts(&self, peer: &Peer, destination: &str, port: u16) -> Result<(), Box<NetworkDenial>> {
        let destination = self.workload(destination);
        let Some(policies) = self.snapshot.inbound_policies(destination) else {
            return Ok(());
        };
        decide(policies, destination, port, peer, None)
    }

    /// Whether a connection between two workloads is allowed at both ends.
    fn connects(&self, from: &str, to: &str, port: u16) -> bool {
        let (source, destination) = (self.workload(from), self.workload(to));
        let egress = self.snapshot.network_policies(source);
        egress.egress(destination, port).is_ok()
            && self
                .accepts(&Peer::Workload(source.clone()), to, port)
                .is_ok()
    }

    /// The workloads that can connect to `to`.
    fn sources(&self, to: &str, port: u16) -> BTreeSet<String> {
        let names = self.workloads.iter().map(|it| full_name(it));
        names.filter(|from| self.connects(from, to, port)).collect()
    }
}

fn full_name(workload: &Workload) -> String {
    format!("{}/{}", workload.namespace, workload.name)
}

/// A policy of this namespace with this spec, as flow YAML.
fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}
