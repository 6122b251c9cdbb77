//! Random policies and requests.
//!
//! Values come from small pools, so that policies and requests often meet, or nearly do.

mod authorization;
mod peer;
mod request;
mod token;

use crate::choice::Choose;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::case::{Case, NAMESPACE};
use crate::issuer::Issuer;

/// Namespaces of policies: most are in that of the workload, and others do not apply to it.
const HOMES: [(&str, u32); 3] = [(NAMESPACE, 80), ("istio-system", 15), ("bank", 5)];

pub(super) struct Generator<'a> {
    rng: StdRng,
    issuer: &'a Issuer,
    /// Of the workload.
    namespace: String,
    /// Whether every request is one of a client of the gateway.
    through_gateway: bool,
    policies: Vec<Value>,
}

impl<'a> Generator<'a> {
    pub(super) fn new(rng: StdRng, issuer: &'a Issuer) -> Self {
        Self {
            rng,
            issuer,
            namespace: NAMESPACE.to_owned(),
            through_gateway: false,
            policies: Vec::new(),
        }
    }

    /// For cases that one host serves together, with requests of its clients: without
    /// policies for all namespaces, or for how a caller connects.
    pub(super) fn through_gateway(rng: StdRng, issuer: &'a Issuer, namespace: String) -> Self {
        Self {
            namespace,
            through_gateway: true,
            ..Self::new(rng, issuer)
        }
    }

    /// The set of policies with this number.
    pub(super) fn case(mut self, number: usize, requests: usize) -> Case {
        // Some sets are about one kind of policy, so that it is not hidden behind others.
        let (tokens, peers) = match self.rng.random_range(0..10) {
            0..4 => (0, 0),
            4..7 => (self.rng.random_range(1..=2), 0),
            7 => (0, self.rng.random_range(1..=3)),
            _ => (self.rng.random_range(0..=2), self.rng.random_range(0..=2)),
        };
        let peers = if self.through_gateway { 0 } else { peers };
        let authorizations = match tokens + peers {
            0 => self.rng.random_range(1..=4),
            _ => self.rng.random_range(0..=3),
        };
        for _ in 0..tokens {
            self.request_authentication();
        }
        for _ in 0..peers {
            self.peer_authentication();
        }
        for _ in 0..authorizations {
            self.authorization_policy();
        }
        let requests = (0..requests).map(|_| self.request()).collect();
        let documents = self
            .policies
            .iter()
            .map(|policy| format!("---\n{policy}\n"));
        Case {
            number,
            namespace: self.namespace,
            manifest: documents.collect(),
            policies: self.policies.len(),
            requests,
        }
    }

    /// Adds a policy; its number is in its name and its age.
    fn add(&mut self, kind: &str, annotations: &Value, spec: &Value) {
        let namespace = match self.rng.weighted(&HOMES) {
            _ if self.through_gateway => self.namespace.clone(),
            NAMESPACE => self.namespace.clone(),
            other => other.to_owned(),
        };
        let number = self.policies.len();
        // The order in the file is not that of age.
        let day = 1 + (number * 7 + kind.len()) % 28;
        self.policies.push(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": {
                "name": format!("p{number}"),
                "namespace": namespace,
                "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z"),
                "annotations": annotations,
            },
            "spec": spec,
        }));
    }

    /// `selector`, or `None` for everything in the policy's scope.
    fn selector(&mut self) -> Option<Value> {
        let labels = match self.rng.random_range(0..10) {
            0..5 => return None,
            5..7 => json!({"app": "app"}),
            7 => json!({"version": "v1"}),
            8 => json!({"app": "app", "version": "v1"}),
            _ => json!({"app": "other"}),
        };
        Some(json!({ "matchLabels": labels }))
    }

    /// A few different values.
    fn some(&mut self, pool: &[&str], max: usize) -> Vec<String> {
        let count = self.rng.random_range(1..=max);
        let mut values: Vec<String> = Vec::new();
        for _ in 0..count {
            let value = self.rng.pick(pool).to_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}
