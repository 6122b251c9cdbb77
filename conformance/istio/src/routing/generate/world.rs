//! What rules lead to: Services, ServiceEntries, subsets, Gateways.

use crate::choice::Choose;
use serde_json::{Value, json};

use super::{GATEWAYS, Generator};

impl Generator {
    pub(super) fn services(&mut self) -> Vec<Value> {
        let mut services = Vec::new();
        let known = [
            ("shop", "ui", &[80, 8080][..]),
            ("shop", "cart", &[80]),
            ("bank", "ledger", &[80, 8080]),
            ("bank", "vault", &[8080]),
        ];
        for (number, (namespace, name, ports)) in known.into_iter().enumerate() {
            let ports = ports.iter().map(
                |port| json!({"name": format!("http-{port}"), "port": port, "targetPort": 8000}),
            );
            let mut service = json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "clusterIP": format!("10.255.0.{}", number + 1),
                    "selector": {"app": name},
                    "ports": ports.collect::<Vec<_>>(),
                },
            });
            if name != "ui" && self.rng.chance(8) {
                let export = self.rng.pick(&[".", "shop", "bank,istio-system"]);
                service["metadata"]["annotations"] =
                    json!({"networking.istio.io/exportTo": export});
            }
            services.push(service);
        }
        services
    }

    pub(super) fn service_entries(&mut self) {
        if self.rng.chance(60) {
            let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
            let mut spec = json!({
                "hosts": ["api.example.com"], "location": "MESH_EXTERNAL",
                "resolution": "DNS", "ports": ports,
            });
            if self.rng.chance(20) {
                spec["exportTo"] = json!(["."]);
            }
            let namespace = self.rng.pick(&["shop", "bank"]);
            self.add("ServiceEntry", namespace, Some("api"), &spec);
        }
        if self.rng.chance(40) {
            let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
            let spec = json!({
                "hosts": ["*.wild.example"], "location": "MESH_EXTERNAL",
                "resolution": "NONE", "ports": ports,
            });
            self.add("ServiceEntry", "shop", Some("wild"), &spec);
        }
    }

    pub(super) fn gateways(&mut self) {
        let pools = [
            json!(["*"]),
            json!(["*"]),
            json!(["shop.test", "*.test"]),
            json!(["*.test", "shop.test"]),
            json!(["*.test"]),
            json!(["shop/*"]),
            json!(["./*.test", "bank/bank.test"]),
            json!(["api.shop.test", "*.shop.test"]),
        ];
        for (namespace, name) in GATEWAYS {
            let mut servers = vec![json!({
                "port": {"number": 80, "name": "http", "protocol": "HTTP"},
                "hosts": self.rng.one(&pools),
            })];
            if self.rng.chance(6) {
                servers[0]["tls"] = json!({"httpsRedirect": true});
            }
            if self.rng.chance(50) {
                servers.push(json!({
                    "port": {"number": 8080, "name": "alt", "protocol": "HTTP"},
                    "hosts": self.rng.one(&pools),
                }));
            }
            let selector = match self.rng_below(20) {
                0 => json!({"istio": "other"}),
                _ => json!({"istio": "ingressgateway"}),
            };
            let spec = json!({"selector": selector, "servers": servers});
            self.add("Gateway", namespace, Some(name), &spec);
        }
    }

    pub(super) fn destination_rules(&mut self) {
        let hosts = [
            "cart.shop.svc.cluster.local",
            "ledger.bank.svc.cluster.local",
            "ui.shop.svc.cluster.local",
            "*.shop.svc.cluster.local",
        ];
        for host in hosts {
            if self.rng.chance(45) {
                self.destination_rule(host);
            }
            // The same host twice is merged, or not.
            if self.also(10) {
                self.destination_rule(host);
            }
        }
    }

    fn destination_rule(&mut self, host: &str) {
        let mut subsets = vec![json!({"name": "v1", "labels": {"version": "v1"}})];
        if self.rng.chance(70) {
            subsets.push(json!({"name": "v2", "labels": {"version": "v2"}}));
        }
        let mut spec = json!({"host": host, "subsets": subsets});
        let own = if host.contains("bank") {
            "bank"
        } else {
            "shop"
        };
        let namespace = match self.rng_below(10) {
            0..8 => own,
            8 => "bank",
            _ => "istio-system",
        };
        if let Some(export) = self.export_to(namespace) {
            spec["exportTo"] = export;
        }
        self.add("DestinationRule", namespace, None, &spec);
    }

    pub(super) fn sidecar(&mut self) {
        let hosts = [
            json!(["./*"]),
            json!(["shop/*"]),
            json!(["*/cart.shop.svc.cluster.local", "~/*"]),
            json!(["bank/*", "./api.example.com"]),
            json!(["*/*"]),
        ];
        let mut spec = json!({"egress": [{"hosts": self.rng.one(&hosts)}]});
        if self.rng.chance(30) {
            spec["workloadSelector"] = json!({"labels": {"app": "ui"}});
        }
        let namespace = self.rng.pick(&["shop", "bank", "istio-system"]);
        if namespace == "istio-system"
            && let Some(spec) = spec.as_object_mut()
        {
            spec.remove("workloadSelector");
        }
        self.add("Sidecar", namespace, Some("default"), &spec);
    }
}
