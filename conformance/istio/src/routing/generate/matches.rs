//! Conditions of rules.

use crate::choice::Choose;
use serde_json::{Map, Value, json};

use super::{GATEWAYS, Generator};

impl Generator {
    /// A block of conditions.
    pub(super) fn block(&mut self, namespace: &str, gateways: &[String]) -> Value {
        let mut block = Map::new();
        let mut set = |name: &str, value: Value| block.insert(name.to_owned(), value);
        if self.rng.chance(65) {
            set("uri", self.uri());
            if self.rng.chance(10) {
                set("ignoreUriCase", json!(true));
            }
        }
        if self.rng.chance(15) {
            let name = self.rng.pick(&["x-user", "x-kind", "cookie"]);
            set(
                "headers",
                json!({ name: self.text(&["ann", "an", "bob", "a=1"]) }),
            );
        }
        if self.rng.chance(8) {
            let value = match self.rng.chance(50) {
                true => json!({}),
                false => self.text(&["ann", "bob"]),
            };
            set("withoutHeaders", json!({"x-user": value}));
        }
        if self.rng.chance(10) {
            let value = self.text(&["1", "12", "x"]);
            let name = self.rng.pick(&["q", "v"]);
            set("queryParams", json!({ name: value }));
        }
        if self.rng.chance(12) {
            set("method", self.text(&["GET", "POST", "PO"]));
        }
        if self.rng.chance(6) {
            set(
                "authority",
                self.text(&["shop.test", "cart", "api.", "shop.test:8080"]),
            );
        }
        if self.rng.chance(4) {
            set("scheme", self.text(&["http", "https"]));
        }
        if self.rng.chance(10) {
            let port = self.rng.pick(&[80, 8080]);
            set("port", json!(port));
        }
        if self.rng.chance(8) {
            let gateway = self.rng.pick(&["mesh", "front", "edge"]);
            let full = GATEWAYS.iter().find(|(_, name)| *name == gateway);
            let gateway = match full {
                Some((home, name)) if *home != namespace => format!("{home}/{name}"),
                _ => gateway.to_owned(),
            };
            let bound = gateways.contains(&gateway);
            if bound || self.rng.chance(50) {
                set("gateways", json!([gateway]));
            }
        }
        if self.rng.chance(7) {
            let labels = [
                json!({"app": "ui"}),
                json!({"app": "ledger"}),
                json!({"version": "v2"}),
            ];
            set("sourceLabels", self.rng.one(&labels));
        }
        if self.rng.chance(5) {
            let namespace = self.rng.pick(&["shop", "bank"]);
            set("sourceNamespace", json!(namespace));
        }
        if block.is_empty() {
            block.insert("uri".into(), json!({"prefix": "/"}));
        }
        Value::Object(block)
    }

    fn uri(&mut self) -> Value {
        let prefixes = ["/", "/api", "/api/", "/items", "/items/", "/A", "/x"];
        let exacts = ["/", "/api", "/items/1", "/ITEMS", "/x/"];
        let regexes = [
            "/items/[0-9]+",
            "/.*",
            "/api(/.*)?",
            "/(x|api)/.*",
            ".*",
            "/items/.*",
        ];
        match self.rng_below(10) {
            0..6 => json!({"prefix": self.rng.pick(&prefixes)}),
            6..8 => json!({"exact": self.rng.pick(&exacts)}),
            _ => json!({"regex": self.rng.pick(&regexes)}),
        }
    }

    /// A condition on a text.
    fn text(&mut self, pool: &[&str]) -> Value {
        let text = self.rng.pick(pool);
        match self.rng_below(10) {
            0..5 => json!({"exact": text}),
            5..8 => json!({"prefix": text}),
            _ => json!({"regex": format!("{text}.*")}),
        }
    }

    pub(super) fn rng_below(&mut self, end: u32) -> u32 {
        use rand::Rng;
        self.rng.random_range(0..end)
    }
}
