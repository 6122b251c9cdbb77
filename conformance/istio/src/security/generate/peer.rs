//! PeerAuthentication.

use crate::choice::Choose;
use serde_json::{Map, json};

use super::Generator;

const MODES: [(&str, u32); 4] = [
    ("STRICT", 35),
    ("PERMISSIVE", 25),
    ("DISABLE", 20),
    ("UNSET", 20),
];

impl Generator<'_> {
    pub(super) fn peer_authentication(&mut self) {
        let mut spec = Map::new();
        if self.rng.chance(85) {
            spec.insert("mtls".into(), json!({"mode": self.rng.weighted(&MODES)}));
        }
        if let Some(selector) = self.selector() {
            spec.insert("selector".into(), selector);
            if self.rng.chance(60) {
                let mut ports = Map::new();
                for _ in 0..self.rng.pick(&[1, 1, 2]) {
                    let port = self.rng.pick(&["8080", "9090", "7070"]);
                    ports.insert(port.into(), json!({"mode": self.rng.weighted(&MODES)}));
                }
                spec.insert("portLevelMtls".into(), ports.into());
            }
        }
        self.add("PeerAuthentication", &json!({}), &spec.into());
    }
}
