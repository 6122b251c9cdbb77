//! RequestAuthentication, and tokens.

use crate::choice::Choose;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::Rng;
use serde_json::{Map, Value, json};

use super::Generator;
use crate::issuer::encoded;

const ISSUERS: [(&str, u32); 3] = [
    ("https://issuer.test", 60),
    ("https://other.test", 25),
    ("issuer@example", 15),
];
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

impl Generator<'_> {
    pub(super) fn request_authentication(&mut self) {
        let mut spec = Map::new();
        if let Some(selector) = self.selector() {
            spec.insert("selector".into(), selector);
        }
        let rules = self.rng.pick(&[1, 1, 1, 2]);
        let rules: Vec<_> = (0..rules).map(|_| self.token_rule()).collect();
        spec.insert("jwtRules".into(), json!(rules));
        self.add("RequestAuthentication", &json!({}), &spec.into());
    }

    fn token_rule(&mut self) -> Value {
        let mut rule = json!({"issuer": self.rng.weighted(&ISSUERS), "jwks": self.key_set()});
        if self.rng.chance(35) {
            let audiences = [
                "shop",
                "bank",
                "https://shop.test/",
                "shop.test",
                "http://shop.test",
            ];
            rule["audiences"] = json!(self.some(&audiences, 2));
        }
        if self.rng.chance(30) {
            let headers = [
                json!({"name": "x-token"}),
                json!({"name": "X-Token", "prefix": "Token "}),
                json!({"name": "authorization", "prefix": "Bearer "}),
                json!({"name": "x-token", "prefix": "jwt="}),
            ];
            let count = self.rng.pick(&[1, 1, 2]);
            let headers: Vec<_> = (0..count).map(|_| self.rng.one(&headers)).collect();
            rule["fromHeaders"] = json!(headers);
        }
        if self.rng.chance(15) {
            rule["fromParams"] = json!(self.some(&["token", "access_token", "t"], 2));
        }
        if self.rng.chance(15) {
            rule["fromCookies"] = json!(self.some(&["session", "id"], 2));
        }
        if self.rng.chance(30) {
            rule["forwardOriginalToken"] = json!(self.rng.chance(80));
        }
        if self.rng.chance(25) {
            rule["outputPayloadToHeader"] = json!("x-jwt-payload");
        }
        if self.rng.chance(30) {
            let claims = [
                ("x-claim-sub", "sub"),
                ("x-claim-role", "realm.role"),
                ("x-claim-level", "level"),
                ("x-claim-level", "verified"),
                ("x-claim-role", "groups"),
                ("x-claim-role", "realm"),
            ];
            let (header, claim) = self.rng.pick(&claims);
            rule["outputClaimToHeaders"] = json!([{"header": header, "claim": claim}]);
        }
        if self.rng.chance(15) {
            rule["spaceDelimitedClaims"] = json!(["words"]);
        }
        rule
    }

    /// Most have all keys; some have a few of them, or only those of somebody else.
    fn key_set(&mut self) -> String {
        let mut keys = self.issuer.keys().to_vec();
        match self.rng.random_range(0..20) {
            0 => keys.truncate(1),
            1 => keys = keys.split_off(1),
            2 => {
                // Keys without names fit every token of their algorithm.
                for key in &mut keys {
                    key.as_object_mut().map(|key| key.remove("kid"));
                }
            }
            3 => {
                for (key, algorithm) in keys.iter_mut().zip(["RS256", "ES256", "ES384", "EdDSA"]) {
                    key["alg"] = json!(algorithm);
                }
            }
            4 => {
                for key in &mut keys {
                    key["kid"] = json!("another");
                }
            }
            _ => {}
        }
        json!({ "keys": keys }).to_string()
    }

    /// A token: mostly a good one.
    pub(super) fn token(&mut self) -> String {
        let claims = self.claims();
        let algorithm = self.rng.pick(&ALGORITHMS);
        match self.rng.random_range(0..24) {
            0 => self.issuer.signed(&json!({ "alg": algorithm }), &claims),
            1 => {
                let header = json!({"alg": algorithm, "kid": "unknown"});
                self.issuer.signed(&header, &claims)
            }
            2 => {
                let forged = self.rng.pick(&["none", "HS256", "RS257", "rs256"]);
                self.issuer
                    .signed(&json!({"alg": forged, "kid": "rsa"}), &claims)
            }
            3 => {
                let token = self.issuer.token(algorithm, &claims);
                let (signed, _) = token.rsplit_once('.').unwrap_or_default();
                format!("{signed}.{}", encoded(b"not the signature"))
            }
            4 => {
                // The signature of another payload.
                let token = self.issuer.token(algorithm, &claims);
                let mut parts = token.split('.').map(str::to_owned);
                let (header, signature) = (parts.next(), parts.nth(1));
                let payload = encoded(
                    json!({"iss": "https://issuer.test", "sub": "eve"})
                        .to_string()
                        .as_bytes(),
                );
                format!(
                    "{}.{payload}.{}",
                    header.unwrap_or_default(),
                    signature.unwrap_or_default()
                )
            }
            5 => self
                .rng
                .pick(&[
                    "garbage",
                    "a.b.c",
                    "..",
                    "a.b",
                    "a.b.c.d",
                    "e30.e30.e30",
                    "%%%.e30.x",
                ])
                .to_owned(),
            6 => {
                let odd = [
                    json!({"alg": algorithm, "kid": 7}),
                    json!({"kid": "rsa"}),
                    json!({"alg": 5}),
                    json!(["alg"]),
                    json!({"alg": algorithm, "kid": "rsa", "typ": "at+jwt", "x": 1}),
                    json!({"alg": algorithm, "kid": "rsa", "crit": ["x"], "x": 1}),
                ];
                let header = self.rng.one(&odd);
                self.issuer.signed(&header, &claims)
            }
            _ => self.issuer.token(algorithm, &claims),
        }
    }

    fn claims(&mut self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |it| it.as_secs());
        let mut claims = json!({
            "iss": self.rng.weighted(&ISSUERS),
            "sub": self.rng.pick(&["ann", "ann", "bob", "eve"]),
            "exp": now + 3_600,
        });
        for (percent, name, values) in optional_claims().into_iter().chain(odd_claims(now)) {
            if self.rng.chance(percent) {
                claims[name] = self.rng.one(&values);
            }
        }
        claims
    }
}

/// Claims with the percentage of tokens that have them, and their values.
fn optional_claims() -> [(u32, &'static str, Vec<Value>); 9] {
    let audiences = vec![
        json!("shop"),
        json!("bank"),
        json!(["shop", "bank"]),
        json!("https://shop.test"),
        json!("https://shop.test/"),
        json!(["other"]),
        json!([]),
    ];
    let groups = vec![
        json!(["admin", "dev"]),
        json!("admin"),
        json!(["ops"]),
        json!([1, "dev"]),
        json!([]),
    ];
    let scopes = vec![
        json!("read write"),
        json!("read"),
        json!(["read", "write"]),
        json!(""),
    ];
    let realms = vec![
        json!({"role": "admin"}),
        json!({"role": ["dev", "ops"]}),
        json!("admin"),
        json!({"x": 1}),
    ];
    let levels = vec![json!(3), json!(-3), json!(3.5), json!("3"), json!(1e20)];
    [
        (60, "aud", audiences),
        (30, "azp", vec![json!("client"), json!("clip"), json!(7)]),
        (40, "groups", groups),
        (30, "scope", scopes),
        (20, "words", vec![json!("one two"), json!("one")]),
        (35, "realm", realms),
        (25, "level", levels),
        (
            20,
            "verified",
            vec![json!(true), json!(false), json!("true")],
        ),
        (10, "a.b", vec![json!("dotted")]),
    ]
}

/// Values with which a token is not valid, or nearly so.
fn odd_claims(now: u64) -> [(u32, &'static str, Vec<Value>); 6] {
    let expiries = vec![
        json!(now - 3_600),
        json!(now - 30),
        json!("soon"),
        json!(-1),
        json!(now as f64 + 0.5),
        json!(0),
    ];
    let beginnings = vec![
        json!(now + 3_600),
        json!(now + 30),
        json!(now - 5),
        json!("x"),
    ];
    let issuers = vec![
        json!(7),
        json!(""),
        json!("https://nobody.test"),
        json!("https://issuer.test/"),
    ];
    [
        (6, "exp", expiries),
        (6, "nbf", beginnings),
        (5, "iat", vec![json!(now + 3_600), json!(now), json!("x")]),
        (3, "sub", vec![json!(7), json!(""), Value::Null]),
        (3, "iss", issuers),
        (2, "jti", vec![json!("id"), json!(7)]),
    ]
}
