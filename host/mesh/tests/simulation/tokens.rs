//! RequestAuthentication: what Envoy's `jwt_authn` filter does with Istio's configuration.

mod effects;
mod explain;
mod keys;
mod legacy;
mod places;
mod routing;
mod verification;

use std::time::{Duration, Instant};

use galleria_mesh::inbound::jwt::{
    self, Authenticated, KeySet, KeySetCache, TOKEN_BYTES_MAX, TokenDecision, TokenTime,
};
use galleria_mesh::inbound::{InboundRequest, Peer};
use galleria_mesh::{LocalReply, RequestHead};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::issuer::{Issuer, encoded};
use crate::world::World;

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.test";
const OTHER: &str = "https://other.test";

/// A request to the workload `shop/app`.
struct Call {
    method: Method,
    path: &'static str,
    query: Option<String>,
    headers: HeaderMap,
}

impl Call {
    fn new() -> Self {
        Self {
            method: Method::GET,
            path: "/orders",
            query: None,
            headers: HeaderMap::new(),
        }
    }

    fn bearer(token: &str) -> Self {
        Self::new().header("authorization", &format!("Bearer {token}"))
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.append(name, value);
        self
    }

    fn query(mut self, query: &str) -> Self {
        self.query = Some(query.to_owned());
        self
    }

    fn preflight(mut self) -> Self {
        self.method = Method::OPTIONS;
        self.header("origin", "https://shop.test")
            .header("access-control-request-method", "POST")
    }
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": "ann", "exp": NOW + 3_600});
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

/// A policy for `shop` with one rule for [`ISSUER`], and `fields` added to it.
fn policy(keys: &str, fields: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, \
         metadata: {{name: tokens, namespace: shop}}, spec: {{jwtRules: [\
         {{issuer: '{ISSUER}', jwks: '{keys}'{fields}}}]}}}}\n---\n"
    )
}

fn world(yaml: &str) -> World {
    World::new(yaml).pods("shop", "app", &[("app", "app")], 1)
}

fn decide(world: &World, cache: &KeySetCache, call: &Call) -> Result<TokenDecision, LocalReply> {
    let destination = world.workload("shop/app");
    let Some(policies) = world.snapshot.inbound_policies(&destination) else {
        return Ok(TokenDecision::Admitted(Authenticated::default()));
    };
    let request = InboundRequest {
        destination: &destination,
        port: 8080,
        peer: &Peer::Workload(destination.clone()),
        head: RequestHead {
            method: &call.method,
            scheme: "http",
            authority: "app.shop",
            path: call.path,
            query: call.query.as_deref(),
            headers: &call.headers,
            source_ip: None,
        },
        principal: None,
    };
    let time = TokenTime {
        unix: Duration::from_secs(NOW),
        monotonic: Instant::now(),
    };
    jwt::decide(policies, &request, time, cache)
}

/// `anonymous`, the principal, `fetch`, or the status and the body of the reply.
fn summary(world: &World, call: &Call) -> String {
    match decide(world, &KeySetCache::default(), call) {
        Ok(TokenDecision::Admitted(it)) => it
            .principal
            .map_or("anonymous".to_owned(), |principal| principal.name()),
        Ok(TokenDecision::Fetch(_)) => "fetch".to_owned(),
        Err(reply) => {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            let words = text.replace(' ', "_");
            assert_eq!(
                reply.details,
                format!("jwt_authn_access_denied{{{words}}}"),
                "the log says why"
            );
            format!("{} {text}", reply.status.as_u16())
        }
    }
}

const ANN: &str = "https://issuer.test/ann";
const FAILS: &str = "401 Jwt verification fails";
const NO_KEY: &str = "401 Jwks doesn't have key to match kid or alg from Jwt";
const FORM: &str =
    "401 Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const UNSUPPORTED: &str = "401 Jwt header [alg] is not supported";
