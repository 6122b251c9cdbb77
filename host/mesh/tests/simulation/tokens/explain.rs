//! What an explanation says about who calls: the token, and mutual TLS.

use super::*;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: app, namespace: shop}, \
                       spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}}\n---\n";
const WITH_TOKEN: &str = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: tokens, \
     namespace: shop}, spec: {selector: {matchLabels: {app: app}}, rules: [{from: [{source: \
     {requestPrincipals: ['*']}}]}]}}\n---\n";

fn strict(tls: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: default, \
         namespace: shop}}, spec: {{mtls: {{mode: STRICT}}}}}}\n---\n{{apiVersion: \
         networking.istio.io/v1, kind: DestinationRule, metadata: {{name: app, namespace: shop}}, \
         spec: {{host: app, trafficPolicy: {{tls: {{mode: {tls}}}}}}}}}\n---\n"
    )
}

/// The destination of a call from `shop/ui`.
fn explained(yaml: &str, token: Option<&str>) -> Value {
    let mut world = World::new(&(SERVICE.to_owned() + yaml))
        .pods("shop", "app", &[("app", "app")], 1)
        .pods("shop", "ui", &[("app", "ui")], 1);
    let call = world.from("shop", "ui", "http://app.shop/a");
    let call = match token {
        Some(token) => call.header("authorization", &format!("Bearer {token}")),
        None => call,
    };
    let explanation = serde_json::to_value(call.explain()).expect("JSON");
    explanation["destinations"][0].clone()
}

#[test]
fn token_is_verified_and_its_principal_authorized() {
    let issuer = Issuer::new();
    let inline = policy(&issuer.key_set(), "") + WITH_TOKEN;
    let remote = inline.replace(
        &format!("jwks: '{}'", issuer.key_set()),
        "jwksUri: http://keys.test/keys",
    );
    let ann = issuer.token("EdDSA", &claims(&json!({})));
    let expired = issuer.token("EdDSA", &claims(&json!({"exp": 1})));
    let step = |principal: Option<&str>, refused: Option<&str>, keys: &[&str]| json!({"principal": principal, "refused": refused, "keys": keys});
    for (yaml, token, expected, is_allowed) in [
        (&inline, None, step(None, None, &[]), false),
        (&inline, Some(&ann), step(Some(ANN), None, &[]), true),
        (
            &inline,
            Some(&expired),
            step(None, Some("401: Jwt is expired"), &[]),
            false,
        ),
        (
            &remote,
            Some(&ann),
            step(None, None, &["http://keys.test/keys"]),
            false,
        ),
    ] {
        let destination = explained(yaml, token.map(String::as_str));
        let authentication = &destination["authentication"][0];
        assert_eq!(authentication["workload"], "shop/app");
        assert_eq!(authentication["token"], expected);
        assert_eq!(authentication["mutualTls"], Value::Null);
        let authorization = &destination["authorization"][0];
        assert_eq!(authorization["allowed"], is_allowed, "{expected}");
    }
}

#[test]
fn mode_of_mutual_tls_is_applied_to_the_connection_of_the_caller() {
    for (tls, is_proven, details) in [
        ("ISTIO_MUTUAL", true, Value::Null),
        (
            "DISABLE",
            false,
            json!("peer_authentication_strict{shop/default}"),
        ),
    ] {
        let destination = explained(&strict(tls), None);
        let expected = json!({
            "mode": "STRICT",
            "policy": "shop/default",
            "isProven": is_proven,
            "details": details,
        });
        assert_eq!(destination["authentication"][0]["mutualTls"], expected);
    }
    let without = explained("", None);
    assert_eq!(without.get("authentication"), None);
}
