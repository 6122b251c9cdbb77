//! RequestAuthentication: the tokens of requests, of an issuer with a key of each kind.

#![expect(clippy::too_many_lines, reason = "a function is one table")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::issuer::{Issuer, encoded};
use super::{ExpectedLines, Hosts, PLACES, Place, Request};
use crate::support::{Service, manifests};

const ISSUER: &str = "https://issuer.test";
/// Its tokens must be for `web` or for `https://api.test/`.
const AUDIENCE: &str = "https://audience.test";
/// Its tokens are in headers, parameters and cookies of its own.
const PLACED: &str = "https://placed.test";

const FORM: &str =
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const FAILS: &str = "Jwt verification fails";
const UNSUPPORTED: &str = "Jwt header [alg] is not supported";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
const NO_ISSUER: &str = "Jwt issuer is not configured";
const NO_AUDIENCE: &str = "Audiences in Jwt are not allowed";

/// The name of a row, its request, and the answer: the subject of the token, an empty one if
/// there is none, or the text of the refusal.
type Row = (&'static str, Request, Result<&'static str, &'static str>);

struct Tokens {
    issuer: Issuer,
    thief: Issuer,
    now: u64,
}

impl Tokens {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            issuer: Issuer::new(),
            thief: Issuer::new(),
            now: now.expect("after 1970").as_secs(),
        }
    }

    fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({"iss": ISSUER, "sub": "ann", "exp": self.now + 3_600});
        let Value::Object(changes) = changes else {
            unreachable!("claims are an object");
        };
        for (name, value) in changes {
            claims[name] = value;
        }
        claims
    }

    /// A valid token but for these claims.
    fn token(&self, changes: Value) -> String {
        self.issuer.token("ES256", &self.claims(changes))
    }

    fn with_header(&self, header: &Value) -> String {
        self.issuer.signed(header, &self.claims(json!({})))
    }

    fn algorithms(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let of = |algorithm| bearer(&self.issuer.token(algorithm, &self.claims(json!({}))));
        for algorithm in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
        ] {
            rows.push((algorithm, of(algorithm), Ok("ann")));
        }
        for algorithm in ["HS256", "HS512", "ES512", "rs256"] {
            let token = self.issuer.token(algorithm, &self.claims(json!({})));
            // The issuer has no signature for them.
            rows.push((algorithm, bearer(&(token + "AAAA")), Err(UNSUPPORTED)));
        }
        rows
    }

    fn claims_rows(&self) -> Vec<Row> {
        let aud = |aud: Value| json!({"iss": AUDIENCE, "aud": aud});
        let now = self.now;
        let rows = [
            (
                "another issuer",
                json!({"iss": "https://other.test"}),
                Err(NO_ISSUER),
            ),
            (
                "issuer with a slash",
                json!({"iss": "https://issuer.test/"}),
                Err(NO_ISSUER),
            ),
            ("empty issuer", json!({"iss": ""}), Err(NO_ISSUER)),
            (
                "number as issuer",
                json!({"iss": 7}),
                Err("Jwt payload [iss] field is not a string"),
            ),
            (
                "number as subject",
                json!({"sub": 7}),
                Err("Jwt payload [sub] field is not a string"),
            ),
            (
                "number as id",
                json!({"jti": 7}),
                Err("Jwt payload [jti] field is not a string"),
            ),
            ("expired", json!({"exp": now - 600}), Err("Jwt is expired")),
            (
                "expired within the skew",
                json!({"exp": now - 5}),
                Ok("ann"),
            ),
            ("no end", json!({"exp": 0}), Ok("ann")),
            (
                "end as text",
                json!({"exp": "tomorrow"}),
                Err("Jwt payload [exp] field is not an integer"),
            ),
            (
                "negative end",
                json!({"exp": -1}),
                Err("Jwt payload [exp] field is not a positive 64 bit integer"),
            ),
            (
                "not yet valid",
                json!({"nbf": now + 600}),
                Err("Jwt not yet valid"),
            ),
            ("valid since now", json!({"nbf": now}), Ok("ann")),
            (
                "begin as text",
                json!({"nbf": "now"}),
                Err("Jwt payload [nbf] field is not an integer"),
            ),
            ("issued in the future", json!({"iat": now + 900}), Ok("ann")),
            (
                "issued as text",
                json!({"iat": "now"}),
                Err("Jwt payload [iat] field is not an integer"),
            ),
            ("an audience", aud(json!("web")), Ok("ann")),
            ("one of several", aud(json!(["x", "web"])), Ok("ann")),
            (
                "another scheme, no slash",
                aud(json!("http://api.test")),
                Ok("ann"),
            ),
            ("another audience", aud(json!("cli")), Err(NO_AUDIENCE)),
            (
                "number as audience",
                aud(json!(1)),
                Err("Jwt payload [aud] field is not a string or string list"),
            ),
            ("no audience", json!({"iss": AUDIENCE}), Err(NO_AUDIENCE)),
            (
                "expired, for another audience",
                json!({"iss": AUDIENCE, "aud": "cli", "exp": 1}),
                Err("Jwt is expired"),
            ),
            (
                "audience that nothing asks for",
                json!({"aud": "cli"}),
                Ok("ann"),
            ),
        ];
        let row = |(name, claims, expected)| (name, bearer(&self.token(claims)), expected);
        rows.into_iter().map(row).collect()
    }

    fn forged(&self) -> Vec<Row> {
        let good = self.token(json!({}));
        let sections: Vec<_> = good.split('.').collect();
        let joined = |parts: [&str; 3]| parts.join(".");
        let admin = encoded(self.claims(json!({"sub": "admin"})).to_string().as_bytes());
        let none = encoded(br#"{"alg":"none"}"#);
        let claims = self.claims(json!({}));
        let rows = [
            (
                "another key with the same id",
                self.thief.token("ES256", &claims),
                FAILS,
            ),
            (
                "other claims",
                joined([sections[0], &admin, sections[2]]),
                FAILS,
            ),
            (
                "stolen, with alg none",
                joined([&none, sections[1], "AAAA"]),
                UNSUPPORTED,
            ),
            ("no signature", joined([sections[0], sections[1], ""]), FORM),
            (
                "a short signature",
                joined([sections[0], sections[1], "AA"]),
                FAILS,
            ),
            (
                "public key as a secret",
                self.with_header(&json!({"alg": "HS256", "kid": "rsa"})),
                UNSUPPORTED,
            ),
            (
                "key of another algorithm",
                self.with_header(&json!({"alg": "ES256", "kid": "rsa"})),
                FAILS,
            ),
            (
                "key id of another curve",
                self.with_header(&json!({"alg": "ES256", "kid": "p384"})),
                NO_KEY,
            ),
            (
                "unknown key id",
                self.with_header(&json!({"alg": "ES256", "kid": "x"})),
                NO_KEY,
            ),
            (
                "two sections",
                format!("{}.{}", sections[0], sections[1]),
                FORM,
            ),
            ("four sections", format!("{good}.a"), FORM),
            ("a word", "token".to_owned(), FORM),
            (
                "header in base64",
                joined(["a+b", sections[1], sections[2]]),
                "Jwt header is an invalid Base64url encoded",
            ),
            (
                "header is a list",
                joined([&encoded(b"[]"), sections[1], sections[2]]),
                "Jwt header is an invalid JSON",
            ),
            (
                "no alg",
                joined([&encoded(b"{}"), sections[1], sections[2]]),
                "Jwt header [alg] field is required and must be a string",
            ),
            (
                "payload is no JSON",
                joined([sections[0], &encoded(b"ann"), sections[2]]),
                "Jwt payload is an invalid JSON",
            ),
            (
                "signature in base64",
                joined([sections[0], sections[1], "a+b"]),
                "Jwt signature is an invalid Base64url encoded",
            ),
            ("too large", "a".repeat(20_000), "Jwt is too large"),
        ];
        let row = |(name, token, text): (_, String, _)| (name, bearer(&token), Err(text));
        rows.into_iter().map(row).collect()
    }

    fn places(&self) -> Vec<Row> {
        let token = self.token(json!({}));
        let placed = self.token(json!({"iss": PLACED, "sub": "bob"}));
        let path = |query: String| Request::new(&format!("/?{query}"));
        let header = |name, value: &str| Request::new("/").header(name, value);
        vec![
            ("no token", Request::new("/"), Ok("")),
            (
                "in the query",
                path(format!("access_token={token}")),
                Ok("ann"),
            ),
            (
                "another scheme",
                header("authorization", "Basic YTpi"),
                Ok(""),
            ),
            (
                "scheme in lower case",
                header("authorization", &format!("bearer {token}")),
                Ok(""),
            ),
            ("elsewhere", bearer(&placed), Err(NO_ISSUER)),
            (
                "with a prefix",
                header("x-token", &format!("token {placed}")),
                Ok("bob"),
            ),
            ("without the prefix", header("x-token", &placed), Ok("")),
            ("parameter", path(format!("t={placed}")), Ok("bob")),
            (
                "cookie",
                header("cookie", &format!("a=b; session={placed}")),
                Ok("bob"),
            ),
            (
                "another cookie",
                header("cookie", &format!("ses={placed}")),
                Ok(""),
            ),
            (
                "forged header of a claim",
                header("x-user", "admin"),
                Ok(""),
            ),
            (
                "claim instead of a forged header",
                bearer(&token).header("x-user", "admin"),
                Ok("ann"),
            ),
        ]
    }
}

fn bearer(token: &str) -> Request {
    Request::new("/").header("authorization", &format!("Bearer {token}"))
}

fn hosts(keys: &str) -> Hosts {
    let services = manifests(&[
        Service::new("app", "echo"),
        Service::new("one", "call"),
        Service::new("far-one", "call"),
    ]);
    let rule = |issuer: &str, fields: &str| {
        format!(
            "{{issuer: '{issuer}', jwks: '{keys}', outputClaimToHeaders: [{{header: x-user, claim: \
             sub}}]{fields}}}"
        )
    };
    let rules = [
        rule(ISSUER, ""),
        rule(AUDIENCE, ", audiences: [web, 'https://api.test/']"),
        rule(
            PLACED,
            ", fromHeaders: [{name: x-token, prefix: 'token '}], fromParams: [t], fromCookies: \
             [session]",
        ),
    ];
    let policy = format!(
        "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: \
         tokens, namespace: test}}\nspec: {{selector: {{matchLabels: {{app: app}}}}, jwtRules: \
         [{}]}}\n",
        rules.join(", ")
    );
    Hosts::start(&(services + &policy), &["app", "one"], &["far-one"])
}

/// The header of the claim that the guest got.
fn user(body: &str) -> String {
    let lines = body.lines().skip(1);
    let headers = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let users = headers.filter(|header| header["name"] == "x-user");
    users
        .map(|header| header["value"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn tokens_are_verified_wherever_a_request_is_from() {
    let tokens = Tokens::new();
    let hosts = hosts(&tokens.issuer.key_set());
    let rows = [
        tokens.algorithms(),
        tokens.claims_rows(),
        tokens.forged(),
        tokens.places(),
    ];
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    assert!(rows.len() >= 50, "{} rows", rows.len());
    let mut lines = ExpectedLines::default();
    let mut counts = [0.0; 3];
    for (number, (name, request, expected)) in rows.iter().enumerate() {
        for place in PLACES {
            let id = format!("{number}-{place:?}");
            let request = request.clone().with_id(&id);
            let answer = hosts.ask(place, "one", "app", &request);
            match expected {
                Ok(subject) => {
                    assert_eq!(answer.status, 200, "{name}, {place:?}: {}", answer.body);
                    assert_eq!(user(&answer.body), *subject, "{name}, {place:?}");
                    lines.add(&id, 200, "via_upstream");
                    counts[0] += 1.0;
                }
                Err(text) => {
                    let (status, count) = match *text {
                        NO_AUDIENCE => (403, 2),
                        _ => (401, 1),
                    };
                    let found = (answer.status, answer.body.as_str());
                    assert_eq!(found, (status, *text), "{name}, {place:?}");
                    let words = text.replace(' ', "_");
                    let details = format!("jwt_authn_access_denied{{{words}}}");
                    lines.add(&id, status, &details);
                    counts[count] += 1.0;
                }
            }
        }
    }
    hosts.have_logged(&lines);
    for (status, count) in [200, 401, 403].into_iter().zip(counts) {
        assert_eq!(hosts.counted("app", status), count, "{status}");
    }
    for (name, request, expected) in &rows {
        let page = hosts.explain(Place::SameHost, "one", "app", request);
        let line = page.lines().find(|line| line.contains("token: "));
        let line = line.unwrap_or_else(|| panic!("{name}: {page}"));
        let is_expected = match expected {
            Ok("") => line.ends_with("token: none"),
            Ok(subject) => line.contains("valid, of") && line.ends_with(&format!("/{subject}")),
            Err(text) => line.contains("REFUSED with 40") && line.ends_with(&format!(": {text}")),
        };
        assert!(is_expected, "{name}: {line}");
    }
}
