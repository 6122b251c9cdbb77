//! One host for each pod, as in a cluster: every one has a loopback address of its
//! own, so that all of them can have the ports that the manifests declare.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

use serde_json::Value;

/// Whom every host believes: on loopback all of them call from this address, whatever
/// they are bound to.
pub const CALLERS: &str = "--trusted-peer=127.0.0.1";

/// A pod that gets a host of its own.
pub struct Pod {
    workload: String,
    address: Ipv4Addr,
}

impl Pod {
    /// A pod of `workload`, at an address that nothing else has.
    pub fn of(workload: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            address: own_address(),
        }
    }

    /// What every host is told of it.
    pub fn peer(&self) -> String {
        format!("--peer={}={}", self.workload, self.address)
    }

    pub fn workload(&self) -> &str {
        &self.workload
    }

    /// What its own host is told.
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

/// One of the sixteen million loopback addresses.
fn own_address() -> Ipv4Addr {
    let random = RandomState::new().hash_one(0);
    let [a, b, c, ..] = random.to_le_bytes();
    // Not 127.0.…, which others use, and not a network's or broadcast address.
    Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254))
}

/// Whether the line is of the callee's side.
pub fn is_inbound(call: &Value) -> bool {
    let cluster = call["upstream_cluster"].as_str();
    cluster.is_some_and(|cluster| cluster.starts_with("inbound|"))
}
