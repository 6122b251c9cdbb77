//! One host per pod, as in a cluster: each has its own loopback address, so that all of
//! them can bind the ports that the manifests declare.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use serde_json::Value;

/// The address that every host trusts if hosts share no authority: on loopback, all hosts call from this address,
/// regardless of the address that they are bound to.
pub const CALLERS: &str = "--trusted-peer=127.0.0.1";

/// A pod that gets its own host.
pub struct Pod {
    workload: String,
    address: Ipv4Addr,
}

impl Pod {
    /// A pod of `workload`, at an address that no other pod has.
    pub fn of(workload: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            address: own_address(),
        }
    }

    /// The flag value that tells every host about this pod.
    pub fn peer(&self) -> String {
        format!("--peer={}={}", self.workload, self.address)
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// The arguments of its own host.
    pub fn arguments(&self) -> [String; 2] {
        [
            format!("--workload={}", self.workload),
            format!("--bind={}", self.address),
        ]
    }
}

/// The pods of the Deployments in `manifest`, as the tests write them.
pub fn pods(manifest: &str) -> Vec<Pod> {
    let deployments = manifest
        .split("---\n")
        .filter(|document| document.contains("kind: Deployment\n"));
    deployments.flat_map(of_deployment).collect()
}

fn of_deployment(document: &str) -> Vec<Pod> {
    let after = |text: &str| {
        let (_, rest) = document.split_once(text)?;
        rest.split([',', '\n']).next()
    };
    let workload = after("metadata: {name: ").expect("a name");
    let replicas = after("replicas: ").map_or(1, |it| it.parse().expect("a number"));
    (0..replicas).map(|_| Pod::of(workload)).collect()
}

/// A random loopback address.
fn own_address() -> Ipv4Addr {
    let random = RandomState::new().hash_one(0);
    let [a, b, c, ..] = random.to_le_bytes();
    // Not 127.0.…, which other programs use, and neither a network nor a broadcast
    // address.
    Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254))
}

/// Whether the line was written by the callee's side.
pub fn is_inbound(call: &Value) -> bool {
    let cluster = call["upstream_cluster"].as_str();
    cluster.is_some_and(|cluster| cluster.starts_with("inbound|"))
}
