//! Where tokens are, and which issuers count.

#![expect(clippy::too_many_lines, reason = "each test is one table")]

use super::*;

#[test]
fn tokens_are_where_the_rule_says() {
    let issuer = Issuer::new();
    let token = issuer.token("EdDSA", &claims(&json!({})));
    let bob = issuer.token("EdDSA", &claims(&json!({"sub": "bob"})));
    let bad = issuer.token("EdDSA", &claims(&json!({"exp": 1})));
    let custom = ", fromHeaders: [{name: X-Token, prefix: 'token '}, {name: x-bare}], \
                  fromParams: [t], fromCookies: [session]";
    let bearer = Call::bearer;
    let anonymous = "anonymous";
    let rows = [
        ("no token", "", Call::new(), anonymous),
        (
            "in the query",
            "",
            Call::new().query(&format!("a=1&access_token={token}")),
            ANN,
        ),
        (
            "its name encoded",
            "",
            Call::new().query(&format!("access%5Ftoken={bad}")),
            "401 Jwt is expired",
        ),
        (
            "another scheme",
            "",
            Call::new().header("authorization", "Basic YTpi"),
            anonymous,
        ),
        (
            "scheme in lower case",
            "",
            Call::new().header("authorization", &format!("bearer {token}")),
            anonymous,
        ),
        (
            "more spaces",
            "",
            Call::new().header("authorization", &format!("Bearer   {token}")),
            ANN,
        ),
        (
            "scheme without token",
            "",
            Call::new().header("authorization", "Bearer "),
            FORM,
        ),
        ("elsewhere", custom, bearer(&token), anonymous),
        (
            "with a prefix",
            custom,
            Call::new().header("x-token", &format!("token {token}")),
            ANN,
        ),
        (
            "without the prefix",
            custom,
            Call::new().header("x-token", &token),
            anonymous,
        ),
        ("bare", custom, Call::new().header("x-bare", &token), ANN),
        (
            "parameter",
            custom,
            Call::new().query(&format!("t={token}")),
            ANN,
        ),
        (
            "cookie",
            custom,
            Call::new().header("cookie", &format!("a=b; session={token}; c=d")),
            ANN,
        ),
        (
            "quoted cookie",
            custom,
            Call::new().header("cookie", &format!("session=\"{token}\"")),
            ANN,
        ),
        (
            "another cookie",
            custom,
            Call::new().header("cookie", &format!("ses={token}")),
            anonymous,
        ),
        (
            "the last place is verified first, the first one counts",
            custom,
            Call::new()
                .header("x-bare", &bob)
                .query(&format!("t={token}")),
            "https://issuer.test/bob",
        ),
        (
            "good and bad",
            custom,
            Call::new()
                .header("x-bare", &token)
                .query(&format!("t={bad}")),
            "401 Jwt is expired",
        ),
        (
            "bad and good",
            custom,
            Call::new()
                .header("x-bare", &bad)
                .query(&format!("t={token}")),
            "401 Jwt is expired",
        ),
        (
            "a good and a bad one in one header",
            "",
            bearer(&token).header("authorization", &format!("Bearer {bad}")),
            FORM,
        ),
        (
            "two good ones in one header",
            "",
            bearer(&token).header("authorization", &format!("Bearer {bob}")),
            FORM,
        ),
        (
            "two values, one of them a token",
            "",
            bearer(&token).header("authorization", "Basic YTpi"),
            "401 Jwt signature is an invalid Base64url encoded",
        ),
        (
            "a header twice: a good and a bad one",
            custom,
            Call::new().header("x-bare", &token).header("x-bare", &bad),
            "401 Jwt is expired",
        ),
        (
            "a header twice: a bad and a good one",
            custom,
            Call::new().header("x-bare", &bad).header("x-bare", &token),
            "401 Jwt is expired",
        ),
        (
            "a header twice: two good ones, the first one counts",
            custom,
            Call::new().header("x-bare", &bob).header("x-bare", &token),
            "https://issuer.test/bob",
        ),
        (
            "a header twice: the prefix is in one of them",
            custom,
            Call::new()
                .header("x-token", &bad)
                .header("x-token", &format!("token {token}")),
            ANN,
        ),
        (
            "two in one value",
            custom,
            Call::new().header("x-bare", &format!("{token},{token}")),
            FORM,
        ),
        ("preflight", "", bearer(&bad).preflight(), anonymous),
        (
            "OPTIONS of a program",
            "",
            Call {
                method: Method::OPTIONS,
                ..bearer(&bad)
            },
            "401 Jwt is expired",
        ),
    ];
    for (name, fields, call, expected) in rows {
        let world = world(&policy(&issuer.key_set(), fields));
        assert_eq!(summary(&world, &call), expected, "{name}");
    }
}

#[test]
fn one_issuer_of_several_is_enough() {
    let (one, other) = (Issuer::new(), Issuer::new());
    let rule = |issuer: &str, keys: &Issuer, fields: &str| {
        format!("{{issuer: '{issuer}', jwks: '{}'{fields}}}", keys.key_set())
    };
    let policy = |fields: &str| {
        format!(
            "{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, \
             metadata: {{name: tokens, namespace: shop}}, spec: {{jwtRules: [{}, {}]}}}}",
            rule(OTHER, &other, fields),
            rule(ISSUER, &one, ""),
        )
    };
    let ann = one.token("EdDSA", &claims(&json!({})));
    let bob = other.token("EdDSA", &claims(&json!({"iss": OTHER, "sub": "bob"})));
    let expired = other.token("EdDSA", &claims(&json!({"iss": OTHER, "exp": 1})));
    let stranger = one.token("EdDSA", &claims(&json!({"iss": "https://x.test"})));
    let elsewhere = ", fromHeaders: [{name: x-token}]";
    let rows = [
        ("of the first", "", Call::bearer(&ann), ANN),
        (
            "of the second",
            "",
            Call::bearer(&bob),
            "https://other.test/bob",
        ),
        (
            "of neither",
            "",
            Call::bearer(&stranger),
            "401 Jwt issuer is not configured",
        ),
        ("none", "", Call::new(), "anonymous"),
        ("expired", "", Call::bearer(&expired), "401 Jwt is expired"),
        (
            "of both, in two places",
            elsewhere,
            Call::bearer(&ann).header("x-token", &bob),
            ANN,
        ),
        (
            "expired in its place",
            elsewhere,
            Call::new().header("x-token", &expired),
            "401 Jwt is expired",
        ),
        (
            "a good one in a place that is verified before a stranger's",
            "",
            Call::bearer(&stranger).query(&format!("access_token={ann}")),
            "401 Jwt issuer is not configured",
        ),
        (
            "a good one removes the header that also has a stranger's",
            elsewhere,
            Call::new()
                .header("x-token", &stranger)
                .header("x-token", &bob),
            "anonymous",
        ),
        (
            "of the first in the second's place",
            elsewhere,
            Call::new().header("x-token", &ann),
            "401 Jwt issuer is not configured",
        ),
    ];
    for (name, fields, call, expected) in rows {
        assert_eq!(summary(&world(&policy(fields)), &call), expected, "{name}");
    }
}

#[test]
fn policies_that_select_the_workload_are_combined() {
    let (one, other) = (Issuer::new(), Issuer::new());
    let policy = |name: &str, namespace: &str, issuer: &str, keys: &Issuer, selector: &str| {
        format!(
            "{{apiVersion: security.istio.io/v1beta1, kind: RequestAuthentication, \
             metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{selector} jwtRules: [\
             {{issuer: '{issuer}', jwks: '{}'}}]}}}}\n---\n",
            keys.key_set()
        )
    };
    let app = "selector: {matchLabels: {app: app}},";
    let db = "selector: {matchLabels: {app: db}},";
    let ann = one.token("EdDSA", &claims(&json!({})));
    let bob = other.token("EdDSA", &claims(&json!({"iss": OTHER, "sub": "bob"})));
    let bob_name = "https://other.test/bob";
    let unknown = "401 Jwt issuer is not configured";
    let shop = policy("a", "shop", ISSUER, &one, "");
    let rows = [
        (
            "namespace and selector",
            policy("b", "shop", OTHER, &other, app),
            bob_name,
        ),
        (
            "another workload",
            policy("b", "shop", OTHER, &other, db),
            unknown,
        ),
        (
            "another namespace",
            policy("b", "bank", OTHER, &other, ""),
            unknown,
        ),
        (
            "root namespace",
            policy("b", "istio-system", OTHER, &other, ""),
            bob_name,
        ),
        (
            "root namespace, selector",
            policy("b", "istio-system", OTHER, &other, app),
            bob_name,
        ),
        (
            "root namespace, another",
            policy("b", "istio-system", OTHER, &other, db),
            unknown,
        ),
    ];
    for (name, second, expected) in rows {
        let world = world(&(shop.clone() + &second));
        assert_eq!(summary(&world, &Call::bearer(&ann)), ANN, "{name}");
        assert_eq!(summary(&world, &Call::bearer(&bob)), expected, "{name}");
    }
    let nothing = world("");
    assert!(
        nothing
            .snapshot
            .inbound_policies(&nothing.workload("shop/app"))
            .is_none()
    );
}

#[test]
fn rules_of_the_namespace_come_before_those_of_the_mesh() {
    let (one, other) = (Issuer::new(), Issuer::new());
    let policy = |namespace: &str, keys: &Issuer, fields: &str| {
        format!(
            "---\n{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: \
             {{name: tokens, namespace: {namespace}}}, spec: {{jwtRules: [{{issuer: '{ISSUER}', \
             jwks: '{}'{fields}}}]}}}}\n",
            keys.key_set()
        )
    };
    let of_mesh = policy("istio-system", &other, "");
    let world = world(&(of_mesh + &policy("shop", &one, ", audiences: [bank]")));
    let token = one.token("EdDSA", &claims(&json!({})));
    assert_eq!(
        summary(&world, &Call::bearer(&token)),
        "403 Audiences in Jwt are not allowed"
    );
}
