//! What an explanation says about NetworkPolicies.

use galleria_mesh::{Explanation, ReplyStep};

use super::policy;
use crate::world::{World, gateway, istio, services, virtual_service};

/// `ui` and `db` in `shop`, and a server outside.
fn world(policies: &str) -> World {
    let to_db = "  hosts: ['*']\n  gateways: [gw]\n  http: [{route: [{destination: {host: db}}]}]";
    let outside = "  hosts: [api.example.com]\n  resolution: STATIC\n  ports: [{number: 80, \
                   name: http, protocol: HTTP}]\n  endpoints: [{address: 203.0.113.7}]";
    let yaml = services(&[("shop", "ui"), ("shop", "db")])
        + &gateway("shop", "gw")
        + &virtual_service("shop", "vs", to_db)
        + &istio("ServiceEntry", "shop", "api", outside)
        + policies;
    World::new(&yaml)
        .pods("shop", "ui", &[("app", "ui")], 1)
        .pods("shop", "db", &[("app", "db")], 1)
}

fn messages(explanation: &Explanation) -> Vec<&str> {
    let endpoints = explanation.destinations.iter().flat_map(|it| &it.endpoints);
    let steps = endpoints.flat_map(|it| &it.network);
    steps.map(|it| it.message.as_str()).collect()
}

fn reply(explanation: &Explanation) -> Option<(u16, &str, &str)> {
    let reply: &ReplyStep = explanation.reply.as_ref()?;
    Some((reply.status, &reply.flags, &reply.details))
}

#[test]
fn nothing_is_said_where_no_policy_governs() {
    let mut world = world("");
    let explanation = world.from("shop", "ui", "http://db/").explain();
    assert!(messages(&explanation).is_empty());
    assert_eq!(reply(&explanation), None);
}

#[test]
fn both_ends_name_the_policy_that_allows() {
    let mut world = world(
        &(policy(
            "shop",
            "in",
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
        ) + &policy(
            "shop",
            "out",
            "{podSelector: {}, policyTypes: [Egress], egress: [{}]}",
        )),
    );
    let explanation = world.from("shop", "ui", "http://db/").explain();
    assert_eq!(
        messages(&explanation),
        [
            "egress allowed by NetworkPolicy shop/out",
            "ingress allowed by NetworkPolicy shop/in"
        ]
    );
    assert_eq!(reply(&explanation), None);
    let outside = world
        .from("shop", "ui", "http://api.example.com/")
        .explain();
    assert!(messages(&outside).is_empty());
}

#[test]
fn denial_is_the_response() {
    let mut world = world(
        &(policy("shop", "in", "{podSelector: {matchLabels: {app: db}}}")
            + &policy(
                "shop",
                "out",
                "{podSelector: {matchLabels: {app: ui}}, policyTypes: [Egress], \
               egress: [{to: [{podSelector: {}}]}]}",
            )),
    );
    let denied = Some((503, "UF", "network_policy_denied{ingress:shop/in}"));
    let from_ui = world.from("shop", "ui", "http://db/").explain();
    assert_eq!(
        messages(&from_ui),
        [
            "egress allowed by NetworkPolicy shop/out",
            "no ingress rule of NetworkPolicy shop/in allows shop/ui to connect to shop/db on port 8080"
        ]
    );
    assert_eq!(reply(&from_ui), denied);
    assert_eq!(
        reply(&world.edge("http://shop.example.com/").explain()),
        denied
    );
    let outside = world
        .from("shop", "ui", "http://api.example.com/")
        .explain();
    assert_eq!(
        reply(&outside),
        Some((503, "UF", "network_policy_denied{egress:shop/out}"))
    );
}
