//! HTTPRoutes of the Gateway API, at a gateway and for Services.

use crate::choice::Choose;
use serde_json::{Map, Value, json};

use super::{Generator, HOMES};

const VERSION: &str = "gateway.networking.k8s.io/v1";

const HOSTS: [&str; 6] = [
    "shop.test",
    "*.test",
    "api.shop.test",
    "*.shop.test",
    "bank.test",
    "www.test",
];

impl Generator {
    /// A Gateway, HTTPRoutes, and perhaps the grant that they need.
    pub(super) fn gateway_api(&mut self) {
        let mut listeners = vec![self.listener("http", 80)];
        if self.rng.chance(40) {
            listeners.push(self.listener("alt", 8080));
        }
        let spec = json!({
            "gatewayClassName": "istio",
            // The Service of the gateway; the host ignores it.
            "addresses": [{"type": "Hostname", "value": "gateway.istio-system.svc.cluster.local"}],
            "listeners": listeners,
        });
        self.add_version(VERSION, "Gateway", "istio-system", Some("api"), &spec);
        if self.rng.chance(60) {
            let from = json!({
                "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop",
            });
            let spec = json!({"from": [from], "to": [{"group": "", "kind": "Service"}]});
            let version = "gateway.networking.k8s.io/v1beta1";
            self.add_version(version, "ReferenceGrant", "bank", Some("all"), &spec);
        }
        for _ in 0..1 + self.rng_below(3) {
            self.http_route();
        }
    }

    fn listener(&mut self, name: &str, port: u16) -> Value {
        let from = self.rng.weighted(&[("All", 85), ("Same", 15)]);
        let mut listener = json!({
            "name": name, "port": port, "protocol": "HTTP",
            "allowedRoutes": {"namespaces": {"from": from}},
        });
        if self.rng.chance(40) {
            listener["hostname"] = json!(self.rng.pick(&["*.test", "shop.test", "*.shop.test"]));
        }
        listener
    }

    fn http_route(&mut self) {
        let namespace = self.rng.weighted(&HOMES);
        let mut spec = json!({});
        if self.rng.chance(60) {
            let mut parent = json!({"name": "api", "namespace": "istio-system"});
            if self.rng.chance(20) {
                parent["sectionName"] = json!(self.rng.pick(&["http", "alt"]));
            }
            spec["parentRefs"] = json!([parent]);
            if self.rng.chance(75) {
                spec["hostnames"] = json!([self.rng.pick(&HOSTS)]);
            }
        } else {
            let (home, name) =
                self.rng
                    .pick(&[("shop", "cart"), ("shop", "ui"), ("bank", "ledger")]);
            let mut parent = json!({"group": "", "kind": "Service", "name": name});
            if home != namespace {
                parent["namespace"] = json!(home);
            }
            spec["parentRefs"] = json!([parent]);
        }
        let rules = (0..1 + self.rng_below(3)).map(|_| self.http_route_rule(namespace));
        spec["rules"] = rules.collect();
        self.add_version(VERSION, "HTTPRoute", namespace, None, &spec);
    }

    fn http_route_rule(&mut self, namespace: &str) -> Value {
        let mut matches: Vec<Value> = (0..self.rng_below(3))
            .map(|_| self.http_route_match())
            .collect();
        if matches.is_empty() {
            // What a cluster adds, as the weights below.
            matches.push(json!({"path": {"type": "PathPrefix", "value": "/"}}));
        }
        // `ReplacePrefixMatch` is only valid with a match by prefix.
        let has_prefix = matches.len() == 1 && matches[0]["path"]["type"] == "PathPrefix";
        let mut rule = Map::new();
        rule.insert("matches".into(), json!(matches));
        let mut filters = Vec::new();
        for (kind, field, names) in [
            (
                "RequestHeaderModifier",
                "requestHeaderModifier",
                ["x-user", "x-new"],
            ),
            (
                "ResponseHeaderModifier",
                "responseHeaderModifier",
                ["x-up", "x-new"],
            ),
        ] {
            if self.rng.chance(25) {
                filters.push(json!({"type": kind, field: self.modifier(names)}));
            }
        }
        if self.rng.chance(20) {
            let redirect = self.route_redirect(has_prefix);
            filters.push(json!({"type": "RequestRedirect", "requestRedirect": redirect}));
        } else {
            if self.rng.chance(25) {
                let mut rewrite = json!({"path": self.path_modifier(has_prefix)});
                if self.rng.chance(40) {
                    rewrite["hostname"] = json!("inner.test");
                }
                filters.push(json!({"type": "URLRewrite", "urlRewrite": rewrite}));
            }
            if self.rng.chance(12) {
                let mirror = json!({"backendRef": self.backend(namespace)});
                filters.push(json!({"type": "RequestMirror", "requestMirror": mirror}));
            }
            let count = self.rng.weighted(&[(1, 80), (2, 20)]);
            let backends = (0..count).map(|_| {
                let mut backend = self.backend(namespace);
                backend["weight"] = match count {
                    1 => json!(1),
                    _ => json!(self.rng.pick(&[0, 1, 50])),
                };
                backend
            });
            rule.insert("backendRefs".into(), backends.collect());
            if self.rng.chance(12) {
                let timeout = self.rng.pick(&["5s", "100ms"]);
                rule.insert("timeouts".into(), json!({ "request": timeout }));
            }
        }
        if !filters.is_empty() {
            rule.insert("filters".into(), json!(filters));
        }
        Value::Object(rule)
    }

    fn http_route_match(&mut self) -> Value {
        let (kind, value) = match self.rng_below(10) {
            0..6 => (
                "PathPrefix",
                self.rng.pick(&["/", "/api", "/items", "/x", "/api/"]),
            ),
            6..9 => ("Exact", self.rng.pick(&["/api", "/items/1", "/x/"])),
            _ => (
                "RegularExpression",
                self.rng.pick(&["/items/[0-9]+", "/(x|api)/.*"]),
            ),
        };
        let mut found = json!({"path": {"type": kind, "value": value}});
        if self.rng.chance(20) {
            let value = self.rng.pick(&["ann", "bob"]);
            found["headers"] = json!([{"name": "x-user", "value": value}]);
        }
        if self.rng.chance(10) {
            found["queryParams"] = json!([{"name": "q", "value": "1"}]);
        }
        if self.rng.chance(15) {
            found["method"] = json!(self.rng.pick(&["GET", "POST"]));
        }
        found
    }

    fn backend(&mut self, namespace: &str) -> Value {
        let (home, name, port) = self.rng.weighted(&[
            (("shop", "cart", 80), 40),
            (("shop", "ui", 8080), 20),
            (("bank", "ledger", 80), 25),
            (("shop", "gone", 80), 5),
            (("bank", "ledger", 90), 5),
            (("bank", "vault", 8080), 5),
        ]);
        let mut backend = json!({"name": name, "port": port});
        if home != namespace {
            backend["namespace"] = json!(home);
        }
        backend
    }

    fn modifier(&mut self, names: [&str; 2]) -> Value {
        let mut changes = Map::new();
        for (field, change) in [
            ("set", json!([{"name": names[0], "value": "set"}])),
            (
                "add",
                json!([{"name": self.rng.pick(&names), "value": "added"}]),
            ),
            ("remove", json!([names[1]])),
        ] {
            if self.rng.chance(50) {
                changes.insert(field.into(), change);
            }
        }
        if changes.is_empty() {
            changes.insert("remove".into(), json!([names[0]]));
        }
        Value::Object(changes)
    }

    fn path_modifier(&mut self, has_prefix: bool) -> Value {
        let path = self.rng.pick(&["/", "/v1", "/v1/"]);
        match has_prefix && self.rng.chance(70) {
            true => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": path}),
            false => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
        }
    }

    fn route_redirect(&mut self, has_prefix: bool) -> Value {
        let mut redirect = json!({"statusCode": self.rng.pick(&[301, 302])});
        if self.rng.chance(50) {
            redirect["hostname"] = json!("other.test");
        }
        if self.rng.chance(40) {
            redirect["scheme"] = json!(self.rng.pick(&["https", "http"]));
        }
        if self.rng.chance(25) {
            redirect["port"] = json!(self.rng.pick(&[8443, 443, 80]));
        }
        if self.rng.chance(50) {
            redirect["path"] = self.path_modifier(has_prefix);
        }
        redirect
    }
}
