//! Routes by the claims of a token that the gateway has verified.

use galleria_mesh::inbound::RequestPrincipal;
use galleria_mesh::{Caller, Decision};
use serde_json::Map;

use super::*;
use crate::world::{gateway, services, virtual_service};

fn principal(claims: Value) -> RequestPrincipal {
    let claims = match claims {
        Value::Object(claims) => claims,
        _ => Map::new(),
    };
    RequestPrincipal {
        issuer: ISSUER.to_owned(),
        subject: "ann".to_owned(),
        audiences: Vec::new(),
        presenter: None,
        claims,
    }
}

#[test]
fn claims_select_a_rule_at_the_gateway() {
    let spec = "  hosts: ['*']\n  gateways: [web]\n  http:\n  \
                - match: [{headers: {'@request.auth.claims.group': {exact: admin}}}]\n    \
                  route: [{destination: {host: admin.shop.svc.cluster.local}}]\n  \
                - match: [{withoutHeaders: {'@request.auth.claims[group]': {regex: '.*'}}}]\n    \
                  route: [{destination: {host: guest.shop.svc.cluster.local}}]\n  \
                - route: [{destination: {host: app.shop.svc.cluster.local}}]";
    let yaml = services(&[("shop", "app"), ("shop", "admin"), ("shop", "guest")])
        + &gateway("shop", "web")
        + &virtual_service("shop", "routes", spec);
    let mut world = world(&yaml);
    let headers = Call::new().header("group", "admin");
    let head = RequestHead {
        method: &Method::GET,
        scheme: "http",
        authority: "shop.test",
        path: "/",
        query: None,
        headers: &headers.headers,
        source_ip: None,
    };
    for (claims, expected) in [
        (Some(json!({"group": "admin"})), "admin"),
        (Some(json!({"group": ["user", "admin"]})), "admin"),
        (Some(json!({"group": "user"})), "app"),
        (Some(json!({"group": 7})), "guest"),
        (Some(json!({})), "guest"),
        (None, "guest"),
    ] {
        let principal = claims.clone().map(principal);
        let caller = Caller::Edge { listener_port: 80 };
        let decided =
            world
                .snapshot
                .decide_authenticated(caller, &head, principal.as_ref(), &mut world.rng);
        let Decision::Forward(forward) = decided.decision else {
            panic!("{decided:?}");
        };
        assert_eq!(forward.cluster.service_name, expected, "{claims:?}");
    }
}
