//! The tokens that policies of Istio 1.2 demand.

#![expect(clippy::too_many_lines, reason = "each test is one table")]

use super::*;

#[test]
fn policy_of_istio_1_2_can_demand_a_token() {
    let issuer = Issuer::new();
    let policy = |origin: &str, fields: &str| {
        format!(
            "{{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, \
             metadata: {{name: default, namespace: shop}}, spec: {{origins: [{{jwt: \
             {{issuer: '{ISSUER}', jwks: '{}'{origin}}}}}]{fields}}}}}",
            issuer.key_set()
        )
    };
    let ann = issuer.token("EdDSA", &claims(&json!({})));
    let bad = issuer.token("EdDSA", &claims(&json!({"exp": 1})));
    let failed = "401 Origin authentication failed.";
    let peer = "cluster.local/ns/shop/sa/app";
    let to_origin = ", principalBinding: USE_ORIGIN";
    let excluded = ", triggerRules: [{excludedPaths: [{exact: /orders}]}]";
    let included = ", triggerRules: [{includedPaths: [{prefix: /admin}, {suffix: .js}]}]";
    let both =
        ", triggerRules: [{includedPaths: [{prefix: /}], excludedPaths: [{regex: '/or.*'}]}]";
    let rows = [
        ("token, bound to the peer", "", "", Call::bearer(&ann), peer),
        (
            "token, bound to itself",
            "",
            to_origin,
            Call::bearer(&ann),
            ANN,
        ),
        ("no token", "", "", Call::new(), failed),
        ("bad token", "", "", Call::bearer(&bad), failed),
        (
            "optional",
            "",
            ", originIsOptional: true",
            Call::new(),
            "anonymous",
        ),
        (
            "optional, bad token",
            "",
            ", originIsOptional: true",
            Call::bearer(&bad),
            "anonymous",
        ),
        ("excluded path", excluded, "", Call::new(), "anonymous"),
        (
            "path that is not included",
            included,
            "",
            Call::new(),
            "anonymous",
        ),
        (
            "included path",
            included,
            "",
            Call {
                path: "/admin/a",
                ..Call::new()
            },
            failed,
        ),
        (
            "included suffix",
            included,
            "",
            Call {
                path: "/a.js",
                ..Call::new()
            },
            failed,
        ),
        (
            "excluded beats included",
            both,
            "",
            Call::new(),
            "anonymous",
        ),
        (
            "in a header of its own",
            ", jwtHeaders: [x-jwt]",
            to_origin,
            Call::new().header("x-jwt", &ann),
            ANN,
        ),
        (
            "only there",
            ", jwtHeaders: [x-jwt]",
            to_origin,
            Call::bearer(&ann),
            failed,
        ),
    ];
    for (name, origin, fields, call, expected) in rows {
        assert_eq!(
            summary(&world(&policy(origin, fields)), &call),
            expected,
            "{name}"
        );
    }
}
