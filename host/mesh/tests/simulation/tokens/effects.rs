//! What becomes of a request.

use http::Request;

use super::*;

#[test]
fn verified_request_is_changed_as_the_rule_says() {
    let issuer = Issuer::new();
    let changes = json!({"level": 7, "admin": true, "ratio": 0.5, "org": {"name": "acme"},
        "list": ["a"], "scope": "read write", "groups": "x y", "azp": "ui", "aud": ["a", "b"]});
    let token = issuer.token("EdDSA", &claims(&changes));
    let payload = token.split('.').nth(1).expect("a payload").to_owned();
    let fields = ", outputPayloadToHeader: x-payload, spaceDelimitedClaims: [groups], \
        outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-level, claim: level}, \
        {header: x-admin, claim: admin}, {header: x-ratio, claim: ratio}, \
        {header: x-org, claim: org.name}, {header: x-list, claim: list}, \
        {header: x-object, claim: org}, \
        {header: x-none, claim: nothing}]";
    let apply = |fields: &str, call: Call| {
        let world = world(&policy(&issuer.key_set(), fields));
        match decide(&world, &KeySetCache::default(), &call) {
            Ok(TokenDecision::Admitted(it)) => {
                let uri = match &call.query {
                    Some(query) => format!("http://app.shop/orders?{query}"),
                    None => "http://app.shop/orders".to_owned(),
                };
                let mut request = Request::get(uri).body(()).expect("a request");
                *request.headers_mut() = call.headers.clone();
                it.apply_headers(request.headers_mut());
                it.apply_query(request.uri_mut());
                let query = request.uri().query().map(str::to_owned);
                (request.headers().clone(), query, it.principal)
            }
            other => panic!("{other:?}"),
        }
    };
    let call = Call::bearer(&token)
        .header("x-sub", "forged")
        .header("x-none", "forged")
        .header("x-list", "forged");
    let (headers, _, principal) = apply(fields, call);
    let shown = |name: &str| {
        headers
            .get(name)
            .map(|it| it.to_str().expect("text").to_owned())
    };
    for (name, value) in [
        ("x-payload", Some(payload.as_str())),
        ("x-sub", Some("ann")),
        ("x-level", Some("7")),
        ("x-admin", Some("true")),
        ("x-ratio", Some("0.500000")),
        ("x-org", Some("acme")),
        ("x-list", Some("WyJhIl0=")),
        ("x-object", Some("eyJuYW1lIjoiYWNtZSJ9")),
        ("x-none", None),
        ("authorization", None),
    ] {
        assert_eq!(shown(name).as_deref(), value, "{name}");
    }
    let principal = principal.expect("a principal");
    assert_eq!(principal.audiences, ["a", "b"]);
    assert_eq!(principal.presenter.as_deref(), Some("ui"));
    assert_eq!(principal.claims["scope"], json!(["read", "write"]));
    assert_eq!(principal.claims["groups"], json!(["x", "y"]));

    let (headers, _, _) = apply(", forwardOriginalToken: true", Call::bearer(&token));
    assert!(
        headers.contains_key("authorization"),
        "the token is forwarded"
    );
    let query = format!("a=1&access_token={token}&b=2");
    let (_, query, _) = apply("", Call::new().query(&query));
    assert_eq!(query.as_deref(), Some("a=1&b=2"));
    let query = format!("access_token={token}");
    let (_, query, _) = apply("", Call::new().query(&query));
    assert_eq!(query, None);
    let (headers, _, principal) = apply(fields, Call::new().header("x-sub", "forged"));
    assert!(!headers.contains_key("x-sub"), "only the host sets it");
    assert_eq!(principal, None);
}

#[test]
fn denial_names_the_url_and_the_error() {
    let issuer = Issuer::new();
    let world = world(&policy(&issuer.key_set(), ""));
    let bad = issuer.token("EdDSA", &claims(&json!({"exp": 1})));
    let call = Call::bearer(&bad).query("a=\"1\"");
    let reply = decide(&world, &KeySetCache::default(), &call).expect_err("a denial");
    let (name, value) = reply.headers.last().expect("a challenge");
    assert_eq!(name, "www-authenticate");
    let expected = r#"Bearer realm="http://app.shop/orders?a=1", error="invalid_token""#;
    assert_eq!(value, expected);
}
