//! AuthorizationPolicy.

use crate::choice::Choose;
use serde_json::{Map, Value, json};

use super::Generator;

const PRINCIPALS: [&str; 12] = [
    "cluster.local/ns/shop/sa/ui",
    "cluster.local/ns/shop/sa/app-account",
    "cluster.local/ns/bank/sa/teller",
    "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
    "cluster.local/ns/shop/*",
    "cluster.local/ns/b*",
    "*/sa/ui",
    "*/sa/te",
    "*",
    "other.domain/ns/shop/sa/ui",
    "spiffe://cluster.local/ns/shop/sa/ui",
    "ui",
];
const NAMESPACES: [&str; 7] = ["shop", "bank", "istio-system", "sh*", "*op", "*", "sho"];
const SERVICE_ACCOUNTS: [&str; 6] = [
    "ui",
    "shop/ui",
    "bank/teller",
    "teller",
    "bank/ui",
    "istio-system/istio-ingressgateway-service-account",
];
const TRUST_DOMAINS: [&str; 5] = ["cluster.local", "*", "cluster.*", "*.local", "other.domain"];
const ADDRESSES: [&str; 8] = [
    "127.0.1.5",
    "127.0.1.0/24",
    "127.0.0.0/16",
    "127.0.2.0/28",
    "10.0.0.0/8",
    "198.51.100.0/24",
    "203.0.113.7",
    "2001:db8::/32",
];
const REQUEST_PRINCIPALS: [&str; 14] = [
    "*",
    "https://issuer.test/ann",
    "https://issuer.test/bob",
    "https://issuer.test/*",
    "https://issuer.test/a*",
    "https://other.test/ann",
    "issuer@example/ann",
    "issuer*",
    "issuer@example*",
    "*/ann",
    "*.test/ann",
    "*ann",
    "issuer@example",
    "ann",
];
const HOSTS: [&str; 12] = [
    "app.shop",
    "app.shop:8080",
    "app.shop:*",
    "shop.test",
    "SHOP.Test",
    "*.test",
    "*.TEST",
    "app*",
    "*shop*",
    "*",
    "www.shop.test",
    "*:9090",
];
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "P*", "*T", "*"];
const PATHS: [&str; 21] = [
    "/",
    "/items",
    "/items/1",
    "/items/*",
    "/items*",
    "*/edit",
    "*edit",
    "/admin",
    "/admin/*",
    "*",
    "/a/b",
    "/a%2Fb",
    "/a%2fb",
    "/Items",
    "/files/~x",
    "/items/{*}",
    "/items/{**}",
    "/{*}/edit",
    "/{**}/edit",
    "/items/{*}/edit",
    "/{*}/{*}",
];
/// Istio refuses it.
const INVALID_PATH: &str = "/{**}/items/{*}";
const PORTS: [&str; 3] = ["8080", "9090", "80"];

/// Keys of conditions, with their values.
const CONDITIONS: [(&str, &[&str]); 29] = [
    (
        "request.headers[x-user]",
        &["ann", "a*", "*b", "*", "ann,bob", "Ann"],
    ),
    ("request.headers[X-User]", &["ann", "bob"]),
    ("request.headers[x-empty]", &["*", "x"]),
    (
        "request.headers[user-agent]",
        &[
            "curl*",
            "*",
            "curl/8",
            "*Mozilla",
            "curl/8,Mozilla",
            "Mozilla,*",
        ],
    ),
    ("request.headers[Referer]", &["a", "b", "a,b", "*b", "a*"]),
    ("request.headers[host]", &["app.shop", "*.test", "*"]),
    ("request.headers[:authority]", &["app.shop", "shop.test"]),
    ("request.headers[:method]", &["GET", "P*"]),
    ("request.headers[:path]", &["/items", "/items*", "*x=1"]),
    ("request.headers[cookie]", &["*session*", "session*", "*"]),
    ("source.ip", &ADDRESSES),
    ("remote.ip", &ADDRESSES),
    ("source.namespace", &NAMESPACES),
    ("source.principal", &PRINCIPALS),
    ("source.serviceAccount", &SERVICE_ACCOUNTS),
    ("source.trustDomain", &TRUST_DOMAINS),
    ("request.auth.principal", &REQUEST_PRINCIPALS),
    (
        "request.auth.audiences",
        &["shop", "bank", "sh*", "*", "https://shop.test/"],
    ),
    ("request.auth.presenter", &["client", "cli*", "*"]),
    ("request.auth.claims[iss]", &["https://issuer.test", "*"]),
    (
        "request.auth.claims[groups]",
        &["admin", "dev", "ad*", "*min", "*"],
    ),
    (
        "request.auth.claims[scope]",
        &["read", "write", "read write", "re*"],
    ),
    ("request.auth.claims[words]", &["one", "one two", "*"]),
    ("request.auth.claims[realm][role]", &["admin", "dev", "*"]),
    ("request.auth.claims[realm]", &["admin", "*"]),
    ("request.auth.claims[level]", &["3", "*"]),
    ("request.auth.claims[verified]", &["true", "*"]),
    ("destination.port", &PORTS),
    ("request.auth.claims[a.b]", &["dotted", "*"]),
];

/// Attributes that this host does not know, and one that does not exist.
const UNKNOWN: [(&str, &[&str]); 4] = [
    (
        "destination.ip",
        &["10.9.0.1", "10.9.0.0/16", "10.8.0.0/16"],
    ),
    (
        "connection.sni",
        &[
            "outbound_.8080_._.app.shop.svc.cluster.local",
            "*.cluster.local",
            "other",
        ],
    ),
    ("experimental.envoy.filters.a.b[c]", &["x", "[x]"]),
    ("request.unknown", &["x"]),
];

impl Generator<'_> {
    pub(super) fn authorization_policy(&mut self) {
        let action = self
            .rng
            .weighted(&[("ALLOW", 55), ("DENY", 40), ("AUDIT", 5)]);
        let mut spec = json!({ "action": action });
        if action == "ALLOW" && self.rng.chance(30) {
            spec = json!({});
        }
        if let Some(selector) = self.selector() {
            spec["selector"] = selector;
        }
        let rules = self
            .rng
            .weighted(&[(0, 5), (1, 45), (2, 30), (3, 15), (12, 5)]);
        let rules: Vec<_> = (0..rules).map(|_| self.rule()).collect();
        if !rules.is_empty() {
            spec["rules"] = json!(rules);
        }
        let annotations = match self.rng.chance(5) {
            true => json!({"istio.io/dry-run": "true"}),
            false => json!({}),
        };
        self.add("AuthorizationPolicy", &annotations, &spec);
    }

    fn rule(&mut self) -> Value {
        let mut rule = Map::new();
        if self.rng.chance(55) {
            let sources: Vec<_> = (0..=self.extra()).map(|_| self.source()).collect();
            rule.insert("from".into(), json!(sources));
        }
        if self.rng.chance(60) {
            let operations: Vec<_> = (0..=self.extra()).map(|_| self.operation()).collect();
            rule.insert("to".into(), json!(operations));
        }
        if self.rng.chance(35) {
            let conditions: Vec<_> = (0..=self.extra()).map(|_| self.condition()).collect();
            rule.insert("when".into(), json!(conditions));
        }
        Value::Object(rule)
    }

    fn extra(&mut self) -> u32 {
        self.rng.weighted(&[(0, 75), (1, 20), (2, 5)])
    }

    fn source(&mut self) -> Value {
        let mut source = Map::new();
        for _ in 0..=self.extra() {
            let (field, not, pool): (_, _, &[&str]) = self.rng.pick(&[
                ("principals", "notPrincipals", &PRINCIPALS),
                ("namespaces", "notNamespaces", &NAMESPACES),
                ("ipBlocks", "notIpBlocks", &ADDRESSES),
                ("remoteIpBlocks", "notRemoteIpBlocks", &ADDRESSES),
                (
                    "requestPrincipals",
                    "notRequestPrincipals",
                    &REQUEST_PRINCIPALS,
                ),
            ]);
            self.field(&mut source, (field, not), pool);
        }
        // Istio does not let a source have service accounts with principals or namespaces.
        if self.rng.chance(12) {
            source.clear();
            let names = ("serviceAccounts", "notServiceAccounts");
            self.field(&mut source, names, &SERVICE_ACCOUNTS);
        }
        if self.rng.chance(4) {
            let names = ("trustDomains", "notTrustDomains");
            self.field(&mut source, names, &TRUST_DOMAINS);
        }
        json!({ "source": source })
    }

    fn operation(&mut self) -> Value {
        let mut operation = Map::new();
        for _ in 0..=self.extra() {
            let (field, not, pool): (_, _, &[&str]) = self.rng.weighted(&[
                (("hosts", "notHosts", &HOSTS), 25),
                (("methods", "notMethods", &METHODS), 25),
                (("paths", "notPaths", &PATHS), 40),
                (("ports", "notPorts", &PORTS), 10),
            ]);
            self.field(&mut operation, (field, not), pool);
        }
        if self.rng.chance(1) {
            operation.insert("paths".into(), json!([INVALID_PATH]));
        }
        json!({ "operation": operation })
    }

    /// A field, its negation, or both.
    fn field(&mut self, fields: &mut Map<String, Value>, names: (&str, &str), pool: &[&str]) {
        let (has, has_not) =
            self.rng
                .weighted(&[((true, false), 65), ((false, true), 20), ((true, true), 15)]);
        if has {
            fields.insert(names.0.into(), json!(self.some(pool, 3)));
        }
        if has_not {
            fields.insert(names.1.into(), json!(self.some(pool, 2)));
        }
    }

    fn condition(&mut self) -> Value {
        let (key, pool) = match self.rng.chance(5) {
            true => self.rng.pick(&UNKNOWN),
            false => self.rng.pick(&CONDITIONS),
        };
        let mut condition = Map::new();
        condition.insert("key".into(), json!(key));
        self.field(&mut condition, ("values", "notValues"), pool);
        Value::Object(condition)
    }
}
