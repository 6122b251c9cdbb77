//! What rules do.

use crate::choice::Choose;
use serde_json::{Map, Value, json};

use super::Generator;

const DESTINATIONS: [(&str, u32); 8] = [
    ("cart.shop.svc.cluster.local", 40),
    ("ui.shop.svc.cluster.local", 20),
    ("ledger.bank.svc.cluster.local", 20),
    ("vault.bank.svc.cluster.local", 5),
    ("cart", 5),
    ("api.example.com", 4),
    ("ledger.bank", 3),
    ("gone.shop.svc.cluster.local", 3),
];

impl Generator {
    pub(super) fn rule(&mut self, number: usize, namespace: &str, gateways: &[String]) -> Value {
        let mut rule = Map::new();
        rule.insert("name".into(), json!(format!("r{number}")));
        let blocks = self.rng.weighted(&[(0, 15), (1, 60), (2, 25)]);
        if blocks > 0 {
            let mut made: Vec<Value> = Vec::new();
            for _ in 0..blocks {
                let block = self.block(namespace, gateways);
                if !made.contains(&block) {
                    made.push(block);
                }
            }
            rule.insert("match".into(), json!(made));
        }
        match self.rng_below(100) {
            0..13 => {
                let mut redirect = self.redirect();
                let blocks = rule.get("match").and_then(Value::as_array);
                let mut uris = blocks.into_iter().flatten().filter_map(|it| it.get("uri"));
                // Istio refuses it elsewhere.
                if uris.any(|uri| uri.get("prefix").is_none())
                    && let Some(redirect) = redirect.as_object_mut()
                    && let Some(prefix) = redirect.remove("prefixRewrite")
                {
                    redirect.insert("uri".into(), prefix);
                }
                rule.insert("redirect".into(), redirect);
            }
            13..22 => drop(rule.insert("directResponse".into(), self.direct())),
            _ => self.forward(&mut rule),
        }
        if self.rng.chance(25) {
            rule.insert("headers".into(), self.headers());
        }
        Value::Object(rule)
    }

    fn forward(&mut self, rule: &mut Map<String, Value>) {
        let mut set = |name: &str, value: Value| rule.insert(name.to_owned(), value);
        let count = self.rng.weighted(&[(1, 70), (2, 30)]);
        let mut route = Vec::new();
        for number in 0..count {
            let mut one = json!({"destination": self.destination()});
            if count > 1 {
                one["weight"] = match number {
                    0 => json!(self.rng.pick(&[100, 100, 50])),
                    _ => json!(self.rng.pick(&[0, 0, 50])),
                };
            }
            if self.rng.chance(15) {
                one["headers"] = self.headers();
            }
            route.push(one);
        }
        set("route", json!(route));
        if self.rng.chance(30) {
            set("rewrite", self.rewrite());
        }
        if self.rng.chance(15) {
            set("corsPolicy", self.cors());
        }
        if self.rng.chance(8) {
            let percentage = self.rng.pick(&[100, 100, 50]);
            let status = self.rng.pick(&[418, 503, 400]);
            let abort = json!({"httpStatus": status, "percentage": {"value": percentage}});
            set("fault", json!({ "abort": abort }));
        }
        if self.rng.chance(8) {
            let timeout = if self.also(50) { "0.1s" } else { "5s" };
            set("timeout", json!(timeout));
        }
        if self.rng.chance(8) {
            let retries = [
                json!({"attempts": 0}),
                json!({"attempts": 2, "retryOn": "5xx"}),
                json!({"attempts": 1, "perTryTimeout": "2s"}),
            ];
            set("retries", self.rng.one(&retries));
        }
        if self.also(10) {
            let retries = [
                json!({"attempts": 1, "perTryTimeout": "0.1s", "retryOn": "gateway-error"}),
                json!({"attempts": 3, "retryOn": "503,retriable-4xx"}),
            ];
            set("retries", self.rng.one(&retries));
        }
        if self.rng.chance(5) {
            set("mirror", self.destination());
            if self.rng.chance(30) {
                set(
                    "mirrorPercentage",
                    json!({"value": self.rng.pick(&[0, 100])}),
                );
            }
        }
    }

    fn destination(&mut self) -> Value {
        let host = self.rng.weighted(&DESTINATIONS);
        let mut destination = json!({ "host": host });
        if self.rng.chance(35) {
            destination["subset"] = json!(self.rng.pick(&["v1", "v1", "v2", "v3"]));
        }
        if self.rng.chance(40) {
            destination["port"] = json!({"number": self.rng.pick(&[80, 80, 8080])});
        }
        destination
    }

    fn redirect(&mut self) -> Value {
        let mut redirect = Map::new();
        let mut set = |name: &str, value: Value| redirect.insert(name.to_owned(), value);
        match self.rng_below(10) {
            0..5 => drop(set(
                "uri",
                json!(self.rng.pick(&["/new", "/new?to=1", "/"])),
            )),
            5..7 => drop(set(
                "prefixRewrite",
                json!(self.rng.pick(&["/new", "/new/", "/"])),
            )),
            _ => {}
        }
        if self.rng.chance(50) {
            set(
                "authority",
                json!(
                    self.rng
                        .pick(&["other.test", "other.test", "other.test:9090"])
                ),
            );
        }
        if self.rng.chance(30) {
            set("scheme", json!(self.rng.pick(&["https", "http"])));
        }
        match self.rng_below(10) {
            0 => drop(set("port", json!(self.rng.pick(&[8443, 443, 80])))),
            1 => drop(set("derivePort", json!("FROM_REQUEST_PORT"))),
            2 => drop(set("derivePort", json!("FROM_PROTOCOL_DEFAULT"))),
            _ => {}
        }
        if self.rng.chance(40) {
            set("redirectCode", json!(self.rng.pick(&[302, 303, 307, 308])));
        }
        if redirect.is_empty() {
            redirect.insert("uri".into(), json!("/elsewhere"));
        }
        Value::Object(redirect)
    }

    fn direct(&mut self) -> Value {
        let status = self.rng.pick(&[200, 403, 404, 503]);
        match self.rng.chance(60) {
            true => json!({"status": status, "body": {"string": "direct"}}),
            false => json!({ "status": status }),
        }
    }

    pub(super) fn rewrite(&mut self) -> Value {
        let all = [
            json!({"uri": "/"}),
            json!({"uri": "/v1"}),
            json!({"uri": "/v1/"}),
            json!({"authority": "inner.test"}),
            json!({"uri": "/v2", "authority": "inner.test:81"}),
            json!({"uriRegexRewrite": {"match": "^/([a-z]+)/(.*)$", "rewrite": "/\\2/\\1"}}),
            json!({"uriRegexRewrite": {"match": "i", "rewrite": "-$-"}}),
        ];
        self.rng.one(&all)
    }

    fn cors(&mut self) -> Value {
        let origins = [
            json!([{"exact": "https://a.test"}]),
            json!([{"exact": "*"}]),
            json!([{"prefix": "https://a"}, {"regex": "https://b\\.(test|com)"}]),
        ];
        let mut policy = json!({"allowOrigins": self.rng.one(&origins)});
        if self.rng.chance(60) {
            policy["allowMethods"] = json!(["GET", "POST"]);
        }
        if self.rng.chance(40) {
            policy["allowHeaders"] = json!(["x-a", "x-b"]);
        }
        if self.rng.chance(40) {
            policy["exposeHeaders"] = json!(["x-up"]);
        }
        if self.rng.chance(40) {
            policy["maxAge"] = json!("600s");
        }
        if self.rng.chance(40) {
            policy["allowCredentials"] = json!(self.rng.chance(70));
        }
        policy
    }

    pub(super) fn headers(&mut self) -> Value {
        let mut headers = Map::new();
        if self.rng.chance(70) {
            let names = ["x-user", "x-kind", "x-new"];
            headers.insert("request".into(), self.changes(&names));
        }
        if self.rng.chance(60) {
            let names = ["x-up", "x-version", "x-new"];
            headers.insert("response".into(), self.changes(&names));
        }
        Value::Object(headers)
    }

    fn changes(&mut self, names: &[&str]) -> Value {
        let mut changes = Map::new();
        if self.rng.chance(50) {
            let name = self.rng.pick(names);
            changes.insert("set".into(), json!({ name: "set" }));
        }
        if self.rng.chance(50) {
            let name = self.rng.pick(names);
            let value = self.rng.pick(&["added", "more"]);
            changes.insert("add".into(), json!({ name: value }));
        }
        if self.rng.chance(50) {
            changes.insert("remove".into(), json!([self.rng.pick(names)]));
        }
        Value::Object(changes)
    }
}
