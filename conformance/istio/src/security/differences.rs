//! The differences from Istio that are accepted. Each has an example, which every run
//! compares: a difference that does not exist any more fails the run.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::case::{Caller, Case, NAMESPACE, PORTS, Request};
use super::outcome::{Outcome, Verdict};
use crate::issuer::Issuer;

/// What both say about a set of policies, or about one request. An error is the reason for
/// refusing the set.
pub(super) struct Pair<'a> {
    pub(super) case: &'a Case,
    /// `None` for a set that one of them refuses.
    pub(super) request: Option<&'a Request>,
    pub(super) ours: Result<&'a Outcome, &'a str>,
    pub(super) theirs: Result<&'a Outcome, &'a str>,
}

pub(super) struct Difference {
    pub(super) name: &'static str,
    /// Why the mesh differs on purpose.
    pub(super) reason: &'static str,
    /// Whether two different answers are this difference.
    pub(super) is: fn(&Pair<'_>) -> bool,
    /// Policies and a request that show it.
    pub(super) example: fn(&Issuer) -> Case,
}

pub(super) const ACCEPTED: [Difference; 8] = [
    Difference {
        name: "unknown attribute",
        reason: "the host does not know destination.ip, connection.sni and Envoy's metadata; \
                 such a condition counts against the request",
        is: |pair| {
            let keys = ["destination.ip", "connection.sni", "experimental.envoy"];
            let mut keys = keys.into_iter();
            keys.any(|key| pair.case.manifest.contains(key)) && pair.is_denied_here()
        },
        example: |_| {
            let when = json!([{"key": "connection.sni", "values": ["other"]}]);
            let spec = json!({"action": "DENY", "rules": [{ "when": when }]});
            example(&policy("AuthorizationPolicy", &spec), "/", None)
        },
    },
    Difference {
        name: "repeated header",
        reason: "of a repeated header that Envoy joins, each value is forbidden too, not only \
                 both together: a workload may read either of them",
        is: |pair| {
            let repeats = |it: &Request| {
                let is = |name: &str| {
                    let headers = it.headers.iter();
                    let named = headers.filter(|(it, _)| it.eq_ignore_ascii_case(name));
                    named.count() > 1 && pair.case.manifest.to_lowercase().contains(name)
                };
                is("user-agent") || is("referer") || is("authorization")
            };
            pair.request.is_some_and(repeats) && pair.is_denied_here()
        },
        example: |_| {
            let when = json!([{"key": "request.headers[referer]", "values": ["a"]}]);
            let spec = json!({"action": "DENY", "rules": [{ "when": when }]});
            let mut case = example(&policy("AuthorizationPolicy", &spec), "/", None);
            for request in &mut case.requests {
                let header = |value: &str| ("referer".to_owned(), value.to_owned());
                request.headers.extend(["a", "b"].map(header));
            }
            case
        },
    },
    Difference {
        name: "policy without effect",
        reason: "DENY without rules matches no request, and AUDIT decides nothing in a dry run \
                 either; Istio refuses them",
        is: |pair| {
            let is_refused = |reason: &str| {
                reason.contains("DENY action without `rules`")
                    || reason.contains("dry-run currently only supports action ALLOW/DENY")
            };
            pair.ours.is_ok() && pair.theirs.is_err_and(is_refused)
        },
        example: |_| {
            let spec = json!({"action": "DENY"});
            example(&policy("AuthorizationPolicy", &spec), "/", None)
        },
    },
    Difference {
        name: "shared secret",
        reason: "a token with HS256 or its siblings is refused for its algorithm, before \
                 anything else of it is read; Envoy refuses it for another reason",
        is: |pair| pair.is_refused_token("Jwt header [alg] is not supported"),
        example: |issuer| {
            let claims = json!({"iss": "https://nobody.test", "sub": "ann"});
            let token = issuer.signed(&json!({"alg": "HS256", "kid": "rsa"}), &claims);
            example(&tokens(issuer), "/", Some(&token))
        },
    },
    Difference {
        name: "critical extension",
        reason: "RFC 7515 demands that a token with an extension that is not understood is \
                 refused; Envoy ignores the extension",
        is: |pair| pair.is_for_token("Jwt header [crit] is not supported"),
        example: |issuer| {
            let header = json!({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1});
            let claims = json!({"iss": "https://issuer.test", "sub": "ann"});
            let token = issuer.signed(&header, &claims);
            example(&tokens(issuer), "/", Some(&token))
        },
    },
    Difference {
        name: "spaces in Base64url",
        reason: "RFC 7515 does not allow them; Envoy skips them",
        is: |pair| {
            pair.is_for_token("Jwt header is an invalid Base64url encoded")
                || pair.is_for_token("Jwt signature is an invalid Base64url encoded")
        },
        example: |issuer| {
            let claims = json!({"iss": "https://issuer.test", "sub": "ann"});
            let token = issuer.token("RS256", &claims);
            let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
            let spaced = format!("{signed}. {signature}");
            example(&tokens(issuer), "/", Some(&spaced))
        },
    },
    Difference {
        name: "empty sections",
        reason: "a token has two dots (RFC 7515); Envoy skips further dots",
        is: |pair| {
            let body = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 \
                        sections";
            pair.is_for_token(body) && pair.request.is_some_and(|it| it.text().contains(".."))
        },
        example: |issuer| {
            let claims = json!({"iss": "https://issuer.test", "sub": "ann"});
            let token = issuer.token("RS256", &claims).replacen('.', "..", 1);
            example(&tokens(issuer), "/", Some(&token))
        },
    },
    Difference {
        name: "query without its token",
        reason: "when a token is taken out of the query, the host leaves the other parameters \
                 as they are; Envoy sorts and encodes them anew",
        is: |pair| match (pair.ours, pair.theirs) {
            (Ok(ours), Ok(theirs)) => {
                let without_path = |outcome: &Outcome| {
                    let mut outcome = outcome.clone();
                    let path = outcome.seen.remove("path").unwrap_or_default();
                    let path = path.split('?').next().unwrap_or_default().to_owned();
                    (path, outcome)
                };
                ours.verdict == Verdict::Admitted
                    && pair.case.manifest.contains("jwtRules")
                    && without_path(ours) == without_path(theirs)
            }
            _ => false,
        },
        example: |issuer| {
            let claims = json!({"iss": "https://issuer.test", "sub": "ann"});
            let token = issuer.token("RS256", &claims);
            let target = format!("/?z=1&flag&access_token={token}&a=1");
            example(&tokens(issuer), &target, None)
        },
    },
];

impl Pair<'_> {
    /// Whether an AuthorizationPolicy refuses the request here.
    fn is_denied_here(&self) -> bool {
        let denies = |outcome: &Outcome| outcome.body == "RBAC: access denied";
        self.ours.is_ok_and(denies)
    }

    /// Whether the token is refused here with `body`.
    fn is_for_token(&self, body: &str) -> bool {
        self.ours.is_ok_and(|outcome| outcome.body == body)
    }

    /// As [`Self::is_for_token`], and Envoy refuses it too.
    fn is_refused_token(&self, body: &str) -> bool {
        let refuses = |outcome: &Outcome| outcome.challenge.is_some();
        self.is_for_token(body) && self.theirs.is_ok_and(refuses)
    }
}

fn policy(kind: &str, spec: &Value) -> String {
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "example", "namespace": "shop"},
        "spec": spec,
    });
    format!("{policy}\n")
}

fn tokens(issuer: &Issuer) -> String {
    let rule = json!({"issuer": "https://issuer.test", "jwks": issuer.key_set()});
    policy("RequestAuthentication", &json!({ "jwtRules": [rule] }))
}

fn example(manifest: &str, target: &str, token: Option<&str>) -> Case {
    let header = |token| ("authorization".to_owned(), format!("Bearer {token}"));
    Case {
        number: 0,
        namespace: NAMESPACE.into(),
        manifest: manifest.to_owned(),
        policies: 1,
        requests: vec![Request {
            from: Caller::Unknown {
                address: Some(Ipv4Addr::new(127, 0, 1, 5).into()),
            },
            port: PORTS[0],
            method: "GET".into(),
            target: target.to_owned(),
            host: "app.shop".into(),
            headers: token.map(header).into_iter().collect(),
        }],
    }
}
