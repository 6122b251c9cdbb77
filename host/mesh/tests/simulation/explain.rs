//! Explanations, and whether they agree with the decisions that they explain.

use std::collections::BTreeSet;
use std::time::Duration;

use galleria_mesh::{Explanation, Outcome};
use http::{Method, StatusCode};
use proptest::prelude::*;

use crate::shop::SHOP;
use crate::world::{Answer, World, destination_rule, gateway, services, virtual_service};

fn shop() -> World {
    World::new(SHOP)
        .pods(
            "shoppingportal",
            "ui-v1",
            &[("name", "ui"), ("version", "v1")],
            2,
        )
        .pods(
            "shoppingportal",
            "ui-v2",
            &[("name", "ui"), ("version", "v2")],
            1,
        )
}

#[test]
fn every_step_has_its_position_in_the_manifest() {
    let mut world = shop();
    world.set_ready("ui-v1-1", false);
    let explanation = world
        .edge("http://localhost/ui/x")
        .header("user-agent", "curl/8")
        .explain();
    let listener = explanation.listener.expect("at the edge");
    assert_eq!(
        listener.gateway.map(|it| it.name).as_deref(),
        Some("shoppingportal-gateway")
    );
    assert_eq!(
        listener.server.map(|it| (it.file, it.line)),
        Some(("test.yaml".into(), 7))
    );
    let object = explanation.virtual_service.expect("one");
    assert_eq!(
        (object.kind.as_str(), object.name.as_str()),
        ("VirtualService", "shoppingportal-vs")
    );
    assert_eq!(explanation.chosen, Some(1));
    let first = &explanation.rules[0];
    assert!(!first.matched && first.at.is_some());
    let conditions: Vec<(&str, &str, Option<&str>, bool)> = first.blocks[0]
        .conditions
        .iter()
        .map(|it| {
            (
                it.field.as_str(),
                it.expected.as_str(),
                it.actual.as_deref(),
                it.matched,
            )
        })
        .collect();
    assert_eq!(
        conditions,
        [
            ("uri", "prefix /ui", Some("/ui/x"), true),
            (
                "header user-agent",
                "regex .*Firefox.*",
                Some("curl/8"),
                false
            ),
        ]
    );
    assert_eq!(explanation.action, "forward");
    let destination = &explanation.destinations[0];
    assert_eq!(destination.subset.as_deref(), Some("stable"));
    assert_eq!(
        destination
            .destination_rule
            .as_ref()
            .map(|it| it.name.as_str()),
        Some("ui-destination-rules")
    );
    let endpoints: Vec<(&str, bool, &str)> = destination
        .endpoints
        .iter()
        .map(|it| (it.name.as_str(), it.eligible, it.reason.as_str()))
        .collect();
    assert_eq!(
        endpoints,
        [
            ("shoppingportal/ui-v1-0", true, "ready"),
            ("shoppingportal/ui-v1-1", false, "not ready")
        ]
    );
}

#[test]
fn own_replies_of_the_mesh_are_explained() {
    let mut world = shop();
    let reply = world
        .edge("http://localhost/nowhere")
        .explain()
        .reply
        .expect("one");
    assert_eq!((reply.status, reply.flags.as_str()), (404, "NR"));
    let reply = world
        .edge("http://localhost/productms/x")
        .explain()
        .reply
        .expect("one");
    assert_eq!((reply.status, reply.flags.as_str()), (503, "UH"));
    let reply = world
        .from("shoppingportal", "ui-v1", "http://gone/")
        .explain()
        .reply
        .expect("one");
    assert_eq!((reply.status, reply.flags.as_str()), (502, "-"));
}

#[test]
fn ejections_are_explained_per_caller() {
    let yaml = services(&[("shop", "a")])
        + &destination_rule(
            "shop",
            "rule",
            "  host: a\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}}",
        );
    let mut world = World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "client", &[], 1);
    let sent = world.from("shop", "client", "http://a/").send().sent();
    sent.picked
        .record(&Outcome::response(StatusCode::BAD_GATEWAY), world.now);
    let endpoints = |world: &mut World, from: &str| {
        let explanation = world.from("shop", from, "http://a/").explain();
        explanation.destinations[0].endpoints[0].reason.clone()
    };
    assert_eq!(endpoints(&mut world, "client"), "ejected");
    assert_eq!(endpoints(&mut world, "a"), "ready");
    world.advance(Duration::from_secs(60));
    assert_eq!(endpoints(&mut world, "client"), "ready");
}

#[test]
fn a_snapshot_lists_services_clusters_and_routes() {
    let world = shop();
    let ui = world
        .snapshot
        .services()
        .iter()
        .find(|it| it.name == "k8uiworkshopservice");
    let ui = ui.expect("the storefront");
    let clusters: Vec<(Option<&str>, usize)> = ui
        .clusters
        .iter()
        .map(|it| (it.subset.as_deref(), it.endpoints().len()))
        .collect();
    assert_eq!(
        clusters,
        [(Some("canary"), 1), (Some("stable"), 2), (None, 3)]
    );
    let route = &world.snapshot.routes()[0];
    assert_eq!(route.object.name, "shoppingportal-vs");
    assert_eq!(route.gateways, ["shoppingportal/shoppingportal-gateway"]);
    assert_eq!(
        route.rules[0].condition,
        "uri prefix /ui, header user-agent regex .*Firefox.*"
    );
    assert_eq!(route.rules[0].destinations[0].weight, 100);
}

/// A rule of every kind, for callers in the mesh and outside.
fn kinds() -> World {
    let rules = "  hosts: [a, h.example]
  gateways: [mesh, gw]
  http:
    - match: [{uri: {prefix: /redirect}}]
      redirect: {uri: /new}
      headers: {response: {set: {location: 'http://other.example/'}}}
    - match: [{uri: {prefix: /direct}}]
      directResponse: {status: 418, body: {string: tea}}
    - match: [{uri: {prefix: /cors}}]
      corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
      route: [{destination: {host: a}}]
    - match: [{uri: {prefix: /missing}}]
      route: [{destination: {host: a, subset: gone}}]
    - match: [{uri: {prefix: /all-missing}}]
      route: [{destination: {host: a, subset: gone}, weight: 50}, {destination: {host: gone}, weight: 50}]
    - match: [{uri: {prefix: /some-missing}}]
      route: [{destination: {host: a, subset: gone}, weight: 1}, {destination: {host: a}, weight: 99}]
    - match: [{uri: {prefix: /down}}]
      route: [{destination: {host: down}}]
    - match: [{uri: {prefix: /plain}}]
      route: [{destination: {host: a}}]
    - match: [{uri: {prefix: /limited}}]
      timeout: 2s
      retries: {attempts: 4, perTryTimeout: 500ms, retryOn: 'gateway-error,reset', backoff: 10ms}
      route: [{destination: {host: a}}]
";
    let yaml = services(&[("shop", "a"), ("shop", "down")])
        + &gateway("shop", "gw")
        + &virtual_service("shop", "vs", rules);
    World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 2)
        .pods("shop", "client", &[], 1)
}

/// The explanation of a request, and its answer.
fn ask(
    world: &mut World,
    url: &str,
    inside: bool,
    headers: &[(&str, &str)],
) -> (Explanation, Answer) {
    let call = match inside {
        true => world.from("shop", "client", url),
        false => world.edge(url),
    };
    let is_preflight = headers
        .iter()
        .any(|(name, _)| *name == "access-control-request-method");
    let call = match is_preflight {
        true => call.method(Method::OPTIONS),
        false => call,
    };
    let call = headers
        .iter()
        .fold(call, |call, (name, value)| call.header(name, value));
    (call.explain(), call.send())
}

#[test]
fn own_replies_are_the_same_in_explanation_and_decision() {
    let mut world = kinds();
    let preflight: &[(&str, &str)] = &[
        ("origin", "https://shop.example"),
        ("access-control-request-method", "GET"),
    ];
    for (url, inside, headers, action) in [
        ("http://h.example/redirect", false, &[][..], "redirect"),
        ("http://a/redirect", true, &[], "redirect"),
        ("http://h.example/direct", false, &[], "direct response"),
        ("http://a/cors", true, preflight, "preflight"),
        ("http://a/missing", true, &[], "forward"),
        ("http://h.example/all-missing", false, &[], "forward"),
        ("http://a/down", true, &[], "forward"),
        ("http://a/no-rule", true, &[], "refuse"),
        ("http://nowhere.example/", false, &[], "refuse"),
        ("http://nowhere.example/", true, &[], "refuse"),
        ("http://a:81/plain", true, &[], "refuse"),
    ] {
        let (explanation, answer) = ask(&mut world, url, inside, headers);
        let reply = answer.reply();
        let explained = explanation.reply.expect("an explanation of the reply");
        assert_eq!(explanation.action, action, "{url}");
        assert_eq!(explained.status, reply.status.as_u16(), "{url}");
        assert_eq!(explained.flags, reply.flags.to_string(), "{url}");
        let location = reply.headers.iter().find(|(name, _)| name == "location");
        let location = location.and_then(|(_, value)| value.to_str().ok());
        assert_eq!(explained.location.as_deref(), location, "{url}");
        // It is random which of the missing destinations is selected.
        if !url.ends_with("/all-missing") {
            assert_eq!(explained.details, reply.details, "{url}");
        }
    }
}

#[test]
fn timeouts_and_retries_are_the_same_in_explanation_and_decision() {
    let timeout = "x-envoy-upstream-rq-timeout-ms";
    let per_try = "x-envoy-upstream-rq-per-try-timeout-ms";
    let headers: &[&[(&str, &str)]] = &[
        &[],
        &[(timeout, "250")],
        &[(timeout, "0")],
        &[(timeout, "soon")],
        &[(per_try, "100")],
        &[(per_try, "0")],
        &[(timeout, "250"), (per_try, "100")],
        &[(timeout, "100"), (per_try, "250")],
        // The mesh does not read these.
        &[("x-envoy-max-retries", "9"), ("x-envoy-retry-on", "5xx")],
    ];
    let mut world = kinds();
    let mut different = BTreeSet::new();
    for path in ["plain", "limited", "cors", "some-missing"] {
        for headers in headers {
            for (host, inside) in [("a", true), ("h.example", false)] {
                let url = format!("http://{host}/{path}");
                let (explanation, answer) = ask(&mut world, &url, inside, headers);
                let Answer::Sent(sent) = answer else {
                    assert_eq!(path, "some-missing");
                    continue;
                };
                let context = format!("{url} {headers:?}");
                let text = |duration: Option<Duration>| duration.map(|it| format!("{it:?}"));
                let policy = sent.forward.retry_policy();
                let retries = explanation.retries.expect("the rule forwards");
                assert_eq!(explanation.timeout, text(sent.forward.timeout), "{context}");
                assert_eq!(
                    retries.per_try_timeout,
                    text(sent.forward.per_try_timeout),
                    "{context}"
                );
                assert_eq!(retries.max_attempts, policy.max_attempts, "{context}");
                assert_eq!(retries.retry_on, policy.retry_on(), "{context}");
                assert_eq!(
                    Some(retries.backoff),
                    text(Some(policy.backoff)),
                    "{context}"
                );
                assert_eq!(explanation.reply, None, "{context}");
                different.insert((inside, explanation.timeout, retries.per_try_timeout));
            }
        }
    }
    // A workload can change the timeouts, a caller outside cannot.
    let (inside, outside): (Vec<_>, Vec<_>) = different.iter().partition(|it| it.0);
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert!(inside.len() > 5, "{inside:?}");
}

/// A match block for a small set of paths, headers and queries.
fn arbitrary_block() -> impl Strategy<Value = String> {
    let path = "(/[ab]){0,3}/?";
    let uri = prop_oneof![
        Just(String::new()),
        path.prop_map(|path| format!("uri: {{exact: '/{path}'}}, ")),
        path.prop_map(|path| format!("uri: {{prefix: '/{path}'}}, ")),
        path.prop_map(|path| format!("uri: {{prefix: '/{path}'}}, ignoreUriCase: true, ")),
        path.prop_map(|path| format!("uri: {{regex: '/{path}.*'}}, ")),
        path.prop_map(|path| format!("uri: {{regex: '/{path}b?|/a'}}, ")),
    ];
    let header = prop_oneof![
        Just(String::new()),
        "[xy]".prop_map(|value| format!("headers: {{user: {{exact: {value}}}}}, ")),
        "[xy]".prop_map(|value| format!("withoutHeaders: {{user: {{exact: {value}}}}}, ")),
    ];
    let query = prop_oneof![
        Just(String::new()),
        "[01]".prop_map(|value| format!("queryParams: {{q: {{exact: '{value}'}}}}, ")),
    ];
    (uri, header, query).prop_map(|(uri, header, query)| format!("{{{uri}{header}{query}name: m}}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The index only proposes candidates: testing every rule in order, as the explanation
    /// does, must find the same rule.
    #[test]
    fn the_rule_of_a_decision_is_the_first_whose_conditions_match(
        blocks in proptest::collection::vec(arbitrary_block(), 1..40),
        path in "(/[abAB]){0,4}/?",
        user in proptest::option::of("[xyz]"),
        query in proptest::option::of("[01]"),
    ) {
        let rules: String = blocks
            .iter()
            .enumerate()
            .map(|(number, block)| {
                format!("    - match: [{block}]\n      name: r{number}\n      directResponse: {{status: 200, body: {{string: r{number}}}}}\n")
            })
            .collect();
        let spec = format!("  hosts: ['*']\n  gateways: [gw]\n  http:\n{rules}");
        let mut world = World::new(&(gateway("shop", "gw") + &virtual_service("shop", "vs", &spec)));
        let url = format!(
            "http://h/{}{}",
            path.trim_start_matches('/'),
            query.map(|value| format!("?q={value}")).unwrap_or_default()
        );
        let headers = user.as_deref();
        let call = |world: &mut World| match headers {
            Some(user) => world.edge(&url).header("user", user).send(),
            None => world.edge(&url).send(),
        };
        let explanation = match headers {
            Some(user) => world.edge(&url).header("user", user).explain(),
            None => world.edge(&url).explain(),
        };
        let tried_in_order = explanation.rules.iter().position(|rule| {
            rule.blocks.is_empty() || rule.blocks.iter().any(|block| block.matched)
        });
        prop_assert_eq!(explanation.chosen, tried_in_order);
        let Answer::Reply(reply) = call(&mut world) else { panic!("nothing is forwarded") };
        let expected = tried_in_order.map(|number| explanation.rules[number].name.clone());
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        prop_assert_eq!(expected.unwrap_or_default(), body);
    }
}
