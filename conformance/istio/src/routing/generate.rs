//! Random configurations and requests.
//!
//! Values come from small pools, so that rules and requests often meet, or nearly do.

mod action;
mod http_route;
mod matches;
mod request;
mod world;

use crate::choice::Choose;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::case::Case;

/// Namespaces of objects.
const HOMES: [(&str, u32); 3] = [("shop", 70), ("bank", 20), ("istio-system", 10)];

/// The Gateways that rules refer to: by the namespace and the name.
const GATEWAYS: [(&str, &str); 2] = [("istio-system", "front"), ("istio-system", "edge")];

/// Hosts of VirtualServices at the gateway.
const OUTER: [(&str, u32); 7] = [
    ("shop.test", 35),
    ("*.test", 20),
    ("*", 15),
    ("api.shop.test", 10),
    ("*.shop.test", 10),
    ("bank.test", 5),
    ("cart.shop.svc.cluster.local", 5),
];

/// Hosts of VirtualServices in the mesh.
const INNER: [(&str, u32); 11] = [
    ("cart.shop.svc.cluster.local", 30),
    ("ledger.bank.svc.cluster.local", 15),
    ("ui.shop.svc.cluster.local", 10),
    ("cart", 10),
    ("api.example.com", 10),
    ("*.example.com", 5),
    ("*.shop.svc.cluster.local", 5),
    ("*.wild.example", 4),
    ("x.wild.example", 4),
    ("nowhere.example", 3),
    ("*.svc.cluster.local", 2),
];

pub(super) struct Generator {
    rng: StdRng,
    extended: bool,
    istio: Vec<Value>,
}

impl Generator {
    pub(super) fn new(rng: StdRng, extended: bool) -> Self {
        Self {
            rng,
            extended,
            istio: Vec::new(),
        }
    }

    /// The case with this number.
    pub(super) fn case(mut self, number: usize, requests: usize) -> Case {
        let kubernetes = self.services();
        self.service_entries();
        let has_gateway_api = self.also(20);
        if has_gateway_api {
            self.gateway_api();
        } else {
            self.gateways();
        }
        self.destination_rules();
        if self.rng.chance(15) {
            self.sidecar();
        }
        if !has_gateway_api {
            for _ in 0..self.rng.random_range(1..=4) {
                self.virtual_service();
            }
        }
        let requests = (0..requests).map(|_| self.request()).collect();
        Case {
            number,
            istio: self.istio,
            kubernetes,
            requests,
        }
    }

    /// A chance of what only extended cases have.
    fn also(&mut self, percent: u32) -> bool {
        self.extended && self.rng.chance(percent)
    }

    fn virtual_service(&mut self) {
        let (at_gateway, in_mesh) = match self.rng.random_range(0..10) {
            0..5 => (true, false),
            5..9 => (false, true),
            _ => (true, true),
        };
        let mut gateways: Vec<String> = Vec::new();
        let namespace = self.rng.weighted(&HOMES);
        if at_gateway {
            for (home, name) in GATEWAYS {
                if self.rng.chance(60) {
                    gateways.push(match home == namespace {
                        true => name.to_owned(),
                        false => format!("{home}/{name}"),
                    });
                }
            }
            if gateways.is_empty() {
                gateways.push("istio-system/front".to_owned());
            }
        }
        if in_mesh && (at_gateway || self.rng.chance(20)) {
            gateways.push("mesh".to_owned());
        }
        let mut hosts: Vec<&str> = Vec::new();
        for _ in 0..self.rng.random_range(1..=2) {
            let host = match in_mesh && (!at_gateway || self.rng.chance(50)) {
                true => self.rng.weighted(&INNER),
                false => self.rng.weighted(&OUTER),
            };
            let apart = |other: &&str| !overlap(other, host);
            if hosts.iter().all(apart) && !(in_mesh && host == "*") {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            hosts.push("shop.test");
        }
        let count = self.rng.random_range(1..=4);
        let rules: Vec<Value> = (0..count)
            .map(|number| match self.also(12) {
                true => self.delegating(number, namespace, &gateways),
                false => self.rule(number, namespace, &gateways),
            })
            .collect();
        let mut spec = json!({"hosts": hosts, "http": rules});
        if !gateways.is_empty() {
            spec["gateways"] = json!(gateways);
        }
        if let Some(export) = self.export_to(namespace) {
            spec["exportTo"] = export;
        }
        self.add("VirtualService", namespace, None, &spec);
    }

    /// A rule that leaves the rest to another VirtualService.
    fn delegating(&mut self, number: usize, namespace: &str, gateways: &[String]) -> Value {
        let home = self.rng.weighted(&HOMES);
        let name = format!("delegate{}", self.istio.len());
        let count = self.rng.random_range(1..=3);
        let rules: Vec<Value> = (0..count)
            .map(|number| self.rule(number, home, &[]))
            .collect();
        let mut spec = json!({ "http": rules });
        if let Some(export) = self.export_to(home) {
            spec["exportTo"] = export;
        }
        self.add("VirtualService", home, Some(&name), &spec);
        let mut rule = json!({
            "name": format!("r{number}"),
            "delegate": {"name": name, "namespace": home},
        });
        if self.rng.chance(75) {
            rule["match"] = json!([self.block(namespace, gateways)]);
        }
        if self.rng.chance(20) {
            rule["rewrite"] = self.rewrite();
        }
        if self.rng.chance(20) {
            rule["headers"] = self.headers();
        }
        rule
    }

    fn export_to(&mut self, namespace: &str) -> Option<Value> {
        Some(match self.rng.random_range(0..20) {
            // Istio refuses a namespace that is there twice.
            2 if namespace == "shop" => json!(["."]),
            3 if namespace == "istio-system" => json!(["."]),
            0 => json!(["."]),
            1 => json!(["*"]),
            2 => json!(["shop"]),
            3 => json!([".", "istio-system"]),
            _ => return None,
        })
    }

    /// Adds an object; its number is in its name and its age.
    fn add(&mut self, kind: &str, namespace: &str, name: Option<&str>, spec: &Value) {
        self.add_version("networking.istio.io/v1", kind, namespace, name, spec);
    }

    fn add_version(
        &mut self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: Option<&str>,
        spec: &Value,
    ) {
        let number = self.istio.len();
        let day = 1 + (number * 7 + self.rng.random_range(0..28)) % 28;
        let name = name.map_or_else(|| format!("o{number}"), str::to_owned);
        self.istio.push(json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                // Objects of one age are in the order of their names.
                "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z"),
            },
            "spec": spec,
        }));
    }
}

/// Whether one object must not have both hosts, which Istio refuses.
fn overlap(one: &str, other: &str) -> bool {
    let covers = |pattern: &str, name: &str| {
        pattern == name
            || pattern
                .strip_prefix('*')
                .is_some_and(|it| name.ends_with(it))
    };
    let full = |name: &str| match name {
        "cart" => "cart.shop.svc.cluster.local".to_owned(),
        "ledger.bank" => "ledger.bank.svc.cluster.local".to_owned(),
        name => name.to_owned(),
    };
    let (one, other) = (full(one), full(other));
    covers(&one, &other) || covers(&other, &one)
}
