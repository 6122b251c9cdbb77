//! Who calls: tokens by RequestAuthentication, mutual TLS by PeerAuthentication and by the
//! policies of Istio 1.2.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::support::{Answer, Galleria, Host, Service, eventually, manifests};

const ISSUER: &str = "https://issuer.test";

/// A key of an issuer.
struct Key {
    id: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key");
        Self { id, pair }
    }

    fn key_set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x}]}).to_string()
    }

    /// A token that is valid for an hour, with other claims.
    fn token(&self, changes: &Value) -> String {
        let mut claims = json!({"iss": ISSUER, "sub": "ann", "exp": now() + 3_600});
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": "EdDSA", "kid": self.id});
        let text = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.pair.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// A server of a key set that tests replace. The thread ends with the test program.
#[derive(Clone, Default)]
struct KeyServer(Arc<Mutex<String>>);

impl KeyServer {
    fn serve(&self, key_set: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key_set;
    }

    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = self.0.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut writer = stream.try_clone().expect("a stream");
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                let _head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let body = served.lock().unwrap_or_else(PoisonError::into_inner);
                let status = if body.is_empty() {
                    "500 Failed"
                } else {
                    "200 OK"
                };
                let length = body.len();
                // The client may have disconnected.
                let _ = write!(
                    writer,
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        address
    }
}

fn host(services: &[Service], documents: &[&str]) -> (tempfile::TempDir, Host) {
    let mut yaml = manifests(services);
    for document in documents {
        yaml.push_str("---\n");
        yaml.push_str(document);
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
    let host = Galleria::run(folder.path()).start();
    (folder, host)
}

fn request_authentication(keys: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: test}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  jwtRules:
    - issuer: {ISSUER}
      {keys}
      outputClaimToHeaders: [{{header: x-user, claim: sub}}]
"
    )
}

fn peer_authentication(mode: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, \
         metadata: {{name: default, namespace: test}}, spec: {{mtls: {{mode: {mode}}}}}}}\n"
    )
}

fn destination_rule(mode: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, \
         metadata: {{name: app, namespace: test}}, \
         spec: {{host: app, trafficPolicy: {{tls: {{mode: {mode}}}}}}}}}\n"
    )
}

fn with_token(host: &Host, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-user", "forged")];
    host.get_with("/app/", &headers)
}

/// The headers that the guest `echo` got.
fn received(answer: &Answer, name: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines().skip(1);
    let headers = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let named = headers.filter(|header| header["name"] == name);
    let values = named.map(|header| header["value"].as_str().expect("text").to_owned());
    values.collect()
}

#[test]
fn tokens_are_verified_before_the_guest() {
    let (key, thief) = (Key::new("a"), Key::new("a"));
    let policy = request_authentication(&format!("jwks: '{}'", key.key_set()));
    let (_folder, host) = host(&[Service::new("app", "echo")], &[&policy]);

    let answer = with_token(&host, &key.token(&json!({})));
    assert_eq!(
        received(&answer, "x-user"),
        ["ann"],
        "the claim, not the client's"
    );
    assert!(
        received(&answer, "authorization").is_empty(),
        "not forwarded"
    );
    let anonymous = host.get("/app/");
    assert!(received(&anonymous, "x-user").is_empty());
    let explained = |token: &str| {
        let bearer = format!("authorization: Bearer {token}");
        let url = host.url("/app/");
        host.galleria(&["explain", "--url", &url, "-H", &bearer])
            .stdout
    };
    for (token, expected) in [
        (
            key.token(&json!({})),
            "token: valid, of https://issuer.test/ann",
        ),
        (
            key.token(&json!({"exp": 1})),
            "token: REFUSED with 401: Jwt is expired",
        ),
    ] {
        let page = explained(&token);
        assert!(page.contains(expected), "{page}");
    }

    let good = key.token(&json!({}));
    let payload = good.split('.').nth(1).expect("a payload");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    for (name, token, text) in [
        (
            "expired",
            key.token(&json!({"exp": now() - 120})),
            "Jwt is expired",
        ),
        (
            "wrong issuer",
            key.token(&json!({"iss": "https://other.test"})),
            "Jwt issuer is not configured",
        ),
        (
            "of a thief",
            thief.token(&json!({})),
            "Jwt verification fails",
        ),
        (
            "stolen, with alg none",
            format!("{none}.{payload}.AAAA"),
            "Jwt header [alg] is not supported",
        ),
        ("too large", "a".repeat(20_000), "Jwt is too large"),
    ] {
        let answer = with_token(&host, &token);
        assert_eq!((answer.status, answer.body.as_str()), (401, text), "{name}");
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.ends_with(r#", error="invalid_token""#),
            "{challenge}"
        );
        let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
        let call = host.call("denied", |call| call["response_code_details"] == *details);
        assert_eq!(
            (&call["response_code"], &call["response_flags"]),
            (&json!(401), &json!("-"))
        );
    }
    eventually("denials are counted", || {
        let labels = ["destination_workload=\"app\"", "response_code=\"401\""];
        let source = [labels[0], labels[1], "reporter=\"source\""];
        (host.metric("istio_requests_total", &source) == 5.0).then_some(())
    });
}

#[test]
fn keys_are_fetched_and_follow_their_rotation() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let server = KeyServer::default();
    let address = server.start();
    let entry = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: issuer, namespace: test}}
spec:
  hosts: [keys.issuer.test]
  location: MESH_EXTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {}, ports: {{http: {}}}}}]
",
        address.ip(),
        address.port()
    );
    let policy = request_authentication("jwksUri: http://keys.issuer.test/keys");
    let (_folder, host) = host(&[Service::new("app", "echo")], &[&policy, &entry]);

    let failed = with_token(&host, &old.token(&json!({})));
    let text = "Jwks remote fetch is failed";
    assert_eq!((failed.status, failed.body.as_str()), (401, text));
    assert_eq!(host.get("/app/").status, 200, "no token needs no keys");

    // A failed fetch is repeated after ten seconds, as is one for an unknown key.
    server.serve(old.key_set());
    let accepted =
        |key: &Key| (with_token(&host, &key.token(&json!({}))).status == 200).then_some(());
    eventually("the keys are fetched", || accepted(&old));
    server.serve(new.key_set());
    eventually("the new key is accepted", || accepted(&new));
    let refused = with_token(&host, &old.token(&json!({})));
    assert_eq!(refused.status, 401, "the old key is withdrawn");
    let fetch = host.call("a fetch of keys", |call| call["path"] == "/keys");
    assert_eq!(
        fetch["source_workload"], "test/app",
        "under the rules of the mesh"
    );

    server.serve(String::new());
    assert_eq!(accepted(&new), Some(()), "the last good keys remain");
    let fetches = |result: &str| {
        let label = format!("result=\"{result}\"");
        host.metric("galleria_jwks_fetches_total", &[&label])
    };
    assert!(fetches("success") >= 2.0 && fetches("failure") >= 1.0);
}

#[test]
fn undeclared_address_in_a_private_network_is_not_called() {
    let key = Key::new("a");
    let server = KeyServer::default();
    server.serve(key.key_set());
    let address = server.start();
    let policy = request_authentication(&format!("jwksUri: http://{address}/keys"));
    let (_folder, host) = host(&[Service::new("app", "echo")], &[&policy]);
    let answer = with_token(&host, &key.token(&json!({})));
    assert_eq!(answer.body, "Jwks remote fetch is failed");
    let warned = || {
        host.stderr()
            .contains("declare it with a ServiceEntry")
            .then_some(())
    };
    eventually("the log says what to do", warned);
}

#[test]
fn gateway_verifies_tokens_and_routes_by_their_claims() {
    let key = Key::new("a");
    let policy = format!(
        "{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, \
         metadata: {{name: gateway, namespace: istio-system}}, \
         spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}, \
         jwtRules: [{{issuer: '{ISSUER}', jwks: '{}', forwardOriginalToken: true}}]}}}}\n",
        key.key_set()
    );
    let route = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-claim, namespace: test}
spec:
  hosts: [shop.test]
  gateways: [gateway]
  http:
    - match: [{headers: {'@request.auth.claims.group': {exact: admin}}}]
      directResponse: {status: 200, body: {string: admin}}
    - directResponse: {status: 200, body: {string: guest}}
";
    let (_folder, host) = host(&[Service::new("app", "echo")], &[&policy, route]);
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("host", "shop.test"), ("authorization", bearer.as_str())];
        host.get_with("/", &headers)
    };
    assert_eq!(ask(&key.token(&json!({"group": "admin"}))).body, "admin");
    assert_eq!(ask(&key.token(&json!({"group": "user"}))).body, "guest");
    assert_eq!(host.get_with("/", &[("host", "shop.test")]).body, "guest");
    let expired = ask(&key.token(&json!({"group": "admin", "exp": now() - 120})));
    assert_eq!(
        (expired.status, expired.body.as_str()),
        (401, "Jwt is expired")
    );
    let anywhere = with_token(&host, &key.token(&json!({"exp": 1})));
    assert_eq!(anywhere.status, 401, "before any route");
}

#[test]
fn strict_mutual_tls_refuses_plain_text() {
    let services = || [Service::new("app", "hello"), Service::new("call", "call")];
    let inside = "/call/?url=http://app/";
    let strict = peer_authentication("STRICT");
    let (_folder, attested) = host(&services(), &[&strict, &destination_rule("ISTIO_MUTUAL")]);
    assert_eq!(attested.get("/app/").status, 200, "through the gateway");
    assert_eq!(attested.get(inside).header("x-upstream-status"), "200");

    let (_folder, plain) = host(&services(), &[&strict, &destination_rule("DISABLE")]);
    let answer = plain.get("/app/");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.ends_with("connection termination"),
        "{}",
        answer.body
    );
    assert_eq!(plain.get(inside).header("x-upstream-status"), "503");
    let explained = |host: &Host| {
        let arguments = ["explain", "--url", "http://app/", "--from", "test/call"];
        host.galleria(&arguments).stdout
    };
    for (host, expected) in [
        (&attested, "STRICT by test/default: the caller is proven"),
        (
            &plain,
            "STRICT by test/default: CLOSED with 503 UC, peer_authentication_strict{test/default}",
        ),
    ] {
        let page = explained(host);
        assert!(page.contains(expected), "{page}");
    }
    let call = plain.call("refused", |call| call["source_workload"] == "test/call");
    assert_eq!(call["response_flags"], "UC");
    assert_eq!(
        call["response_code_details"],
        "peer_authentication_strict{test/default}"
    );
}

#[test]
fn caller_without_a_sidecar_calls_in_plain_text() {
    let services = || [Service::new("app", "hello"), Service::new("call", "call")];
    let inside = "/call/?url=http://app/";
    let namespace = "apiVersion: v1\nkind: Namespace\n\
        metadata: {name: test, labels: {istio-injection: disabled}}\n";
    let strict = peer_authentication("STRICT");
    let (_folder, host) = host(&services(), &[&strict, namespace]);
    assert_eq!(host.get("/app/").status, 200, "the gateway is a member");
    assert_eq!(host.get(inside).header("x-upstream-status"), "503");
}

#[test]
fn policies_of_istio_1_2_are_enforced() {
    let policy = "{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, \
         metadata: {name: default, namespace: test}, spec: {peers: [{mtls: {}}]}}\n";
    let services = [Service::new("app", "hello")];
    let (_folder, host) = host(&services, &[policy, &destination_rule("DISABLE")]);
    assert_eq!(host.get("/app/").status, 503);
}
