//! The fields of a rule of a VirtualService.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;

use crate::world::{Answer, World, gateway, services, virtual_service};

/// Rules for all requests to the gateway, and services `a` and `b`.
fn world(http: &str) -> World {
    let spec = format!("  hosts: ['*']\n  gateways: [gw]\n  http:\n{http}");
    let yaml = services(&[("shop", "a"), ("shop", "b")])
        + &gateway("shop", "gw")
        + &virtual_service("shop", "vs", &spec);
    World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
}

/// Requests that match the block are sent to `a`, all others to `b`.
fn matching(block: &str) -> World {
    world(&format!(
        "    - match: [{block}]
      route: [{{destination: {{host: a}}}}]
    - route: [{{destination: {{host: b}}}}]"
    ))
}

/// A rule with these fields, and the destination `a`.
fn rule(fields: &str) -> World {
    world(&format!(
        "    - {fields}\n      route: [{{destination: {{host: a}}}}]"
    ))
}

fn matches(answer: Answer) -> bool {
    answer.sent().forward.cluster.service_name == "a"
}

#[test]
fn a_uri_matches_exactly_by_prefix_or_by_a_regex_for_the_whole_path() {
    for (uri, path, expected) in [
        ("{exact: /x}", "/x", true),
        ("{exact: /x}", "/x?q=1", true),
        ("{exact: /x}", "/x/", false),
        ("{exact: /x}", "/X", false),
        ("{prefix: /x}", "/xyz", true),
        ("{prefix: /x/}", "/x", false),
        ("{regex: '/x/[0-9]+'}", "/x/12", true),
        ("{regex: '/x/[0-9]+'}", "/x/12/y", false),
        ("{regex: '/x|/y'}", "/y", true),
        ("{regex: '/x|/y'}", "/xy", false),
    ] {
        let mut world = matching(&format!("{{uri: {uri}}}"));
        let url = format!("http://h{path}");
        assert_eq!(matches(world.edge(&url).send()), expected, "{uri} {path}");
    }
}

#[test]
fn ignore_uri_case_applies_to_exact_and_prefix() {
    for (uri, path, expected) in [
        ("{exact: /X}", "/x", true),
        ("{prefix: /Ui}", "/uI/page", true),
        ("{prefix: /Ui}", "/u", false),
        ("{regex: '/X.*'}", "/x", false),
    ] {
        let mut world = matching(&format!("{{uri: {uri}, ignoreUriCase: true}}"));
        let url = format!("http://h{path}");
        assert_eq!(matches(world.edge(&url).send()), expected, "{uri} {path}");
    }
}

#[test]
fn dots_and_escapes_are_resolved_before_the_match() {
    let mut world = matching("{uri: {prefix: /admin}}");
    for path in ["/x/../admin", "/%61dmin", "/x/%2e%2e/admin"] {
        assert!(
            matches(world.edge(&format!("http://h{path}")).send()),
            "{path}"
        );
    }
}

#[test]
fn method_scheme_and_authority_are_matched() {
    let mut by_method = matching("{method: {exact: POST}}");
    assert!(matches(
        by_method.edge("http://h/").method(Method::POST).send()
    ));
    assert!(!matches(by_method.edge("http://h/").send()));
    let mut by_scheme = matching("{scheme: {exact: https}}");
    assert!(!matches(by_scheme.edge("http://h/").send()));
    let mut by_authority = matching("{authority: {prefix: beta.}}");
    assert!(matches(by_authority.edge("http://beta.example/").send()));
    assert!(!matches(by_authority.edge("http://h/").send()));
}

#[test]
fn all_conditions_of_a_block_must_match() {
    let mut world = matching("{uri: {prefix: /x}, headers: {user: {exact: me}}}");
    assert!(matches(
        world.edge("http://h/x").header("user", "me").send()
    ));
    assert!(!matches(world.edge("http://h/x").send()));
    assert!(!matches(
        world.edge("http://h/").header("user", "me").send()
    ));
}

#[test]
fn headers_are_matched_by_value_and_by_presence() {
    for (condition, value, expected) in [
        ("{exact: me}", Some("me"), true),
        ("{exact: me}", Some("Me"), false),
        ("{prefix: m}", Some("me"), true),
        ("{regex: 'm.'}", Some("me"), true),
        ("{regex: 'm'}", Some("me"), false),
        ("{}", Some("anything"), true),
        ("{}", None, false),
        ("{exact: me}", None, false),
    ] {
        let mut world = matching(&format!("{{headers: {{x-user: {condition}}}}}"));
        let mut call = world.edge("http://h/");
        if let Some(value) = value {
            call = call.header("X-User", value);
        }
        assert_eq!(matches(call.send()), expected, "{condition} {value:?}");
    }
}

#[test]
fn repeated_headers_are_joined_by_a_comma() {
    let mut world = matching("{headers: {x-user: {exact: 'a,b'}}}");
    assert!(matches(
        world
            .edge("http://h/")
            .header("x-user", "a")
            .header("x-user", "b")
            .send()
    ));
}

#[test]
fn pseudo_headers_match_the_request_line() {
    let mut world = matching("{headers: {':method': {exact: PUT}}}");
    assert!(matches(world.edge("http://h/").method(Method::PUT).send()));
    let mut world = matching("{headers: {':path': {exact: '/x?q=1'}}}");
    assert!(matches(world.edge("http://h/x?q=1").send()));
}

#[test]
fn an_absent_header_is_compared_as_empty_text() {
    for (condition, value, expected) in [
        ("{exact: me}", None, true),
        ("{exact: me}", Some("me"), false),
        ("{exact: me}", Some("you"), true),
        ("{}", None, true),
        ("{}", Some("x"), false),
        ("{regex: '.*'}", None, false),
    ] {
        let mut world = matching(&format!("{{withoutHeaders: {{x-user: {condition}}}}}"));
        let mut call = world.edge("http://h/");
        if let Some(value) = value {
            call = call.header("x-user", value);
        }
        assert_eq!(matches(call.send()), expected, "{condition} {value:?}");
    }
}

#[test]
fn query_parameters_are_matched() {
    for (condition, query, expected) in [
        ("{exact: '1'}", "?v=1", true),
        ("{exact: '1'}", "?v=2&v=1", false),
        ("{exact: ''}", "?v", true),
        ("{}", "?v=x", true),
        ("{}", "?w=x", false),
        ("{}", "", false),
        ("{regex: '[0-9]+'}", "?a=b&v=12", true),
        ("{regex: '[0-9]+'}", "?v=12a", false),
    ] {
        let mut world = matching(&format!("{{queryParams: {{v: {condition}}}}}"));
        let url = format!("http://h/{query}");
        assert_eq!(
            matches(world.edge(&url).send()),
            expected,
            "{condition} {query}"
        );
    }
}

#[test]
fn weights_are_shares_of_their_sum_and_0_gets_no_requests() {
    let mut world = world(
        "    - route:
        - {destination: {host: a}, weight: 0}
        - {destination: {host: b}, weight: 3}",
    );
    for _ in 0..100 {
        assert!(!matches(world.edge("http://h/").send()));
    }
}

#[test]
fn a_single_destination_gets_every_request() {
    let mut world = world("    - route: [{destination: {host: a}, weight: 1}]");
    assert!(matches(world.edge("http://h/").send()));
}

#[test]
fn weights_of_80_and_2_are_shares_of_82() {
    let mut world = world(
        "    - route:
        - {destination: {host: a}, weight: 80}
        - {destination: {host: b}, weight: 2}",
    );
    let calls: usize = 20_000;
    let hits = (0..calls)
        .filter(|_| matches(world.edge("http://h/").send()))
        .count();
    let share = 80.0 / 82.0;
    let sigma = (calls as f64 * share * (1.0 - share)).sqrt();
    let off = (hits as f64 - calls as f64 * share).abs();
    assert!(off < 3.0 * sigma, "{hits} of {calls}");
}

#[test]
fn a_subset_or_service_that_does_not_exist_is_503_nc() {
    for destination in [
        "{host: a, subset: gone}",
        "{host: gone}",
        "{host: a, port: {number: 81}}",
    ] {
        let mut world = world(&format!("    - route: [{{destination: {destination}}}]"));
        assert_eq!(
            world.edge("http://h/").send().summary(),
            "503 NC",
            "{destination}"
        );
    }
}

#[test]
fn a_rewrite_replaces_the_prefix_and_keeps_the_query() {
    let mut world = rule("match: [{uri: {prefix: /old/}}]\n      rewrite: {uri: /new/}");
    let sent = world.edge("http://h/old/x?q=1").send().sent();
    assert_eq!(sent.path(), "/new/x?q=1");
    assert_eq!(sent.header("x-envoy-original-path"), Some("/old/x?q=1"));
}

#[test]
fn a_rewrite_can_use_a_regex_and_change_the_authority() {
    let mut world = rule(
        "rewrite: {uriRegexRewrite: {match: '^/users/([^/]+)', rewrite: '/u/\\1'}, authority: new.example}",
    );
    let sent = world.edge("http://h/users/7/edit").send().sent();
    assert_eq!(sent.path(), "/u/7/edit");
    assert_eq!(sent.header("host"), Some("new.example"));
}

#[test]
fn a_redirect_keeps_the_parts_that_it_does_not_set() {
    for (redirect, url, status, location) in [
        ("{uri: /new}", "http://h/old?q=1", 301, "http://h/new?q=1"),
        (
            "{authority: other.example}",
            "http://h/x",
            301,
            "http://other.example/x",
        ),
        (
            "{scheme: https, redirectCode: 308}",
            "http://h:80/x",
            308,
            "https://h/x",
        ),
        (
            "{port: 8443, scheme: https}",
            "http://h/x",
            301,
            "https://h:8443/x",
        ),
        (
            "{derivePort: FROM_REQUEST_PORT}",
            "http://h/x",
            301,
            "http://h/x",
        ),
        (
            "{redirectCode: 302, uri: '/new?own=1'}",
            "http://h/x?q=1",
            302,
            "http://h/new?own=1",
        ),
    ] {
        let mut world = world(&format!("    - redirect: {redirect}"));
        let reply = world.edge(url).send().reply();
        assert_eq!(reply.status, status, "{redirect}");
        assert_eq!(reply.headers[0].1, location, "{redirect}");
    }
}

#[test]
fn a_direct_response_has_status_body_and_header_operations() {
    let mut world = world(
        "    - directResponse: {status: 418, body: {string: teapot}}
      headers: {response: {set: {x-pot: brown}}}",
    );
    let response = world.edge("http://h/").send().reply().into_response();
    assert_eq!(response.status(), 418);
    assert_eq!(response.body(), "teapot");
    assert_eq!(response.headers()["x-pot"], "brown");
}

#[test]
fn header_operations_of_the_route_come_before_those_of_the_destination() {
    let mut world = world(
        "    - headers:
        request: {set: {x-level: route, x-route: 'yes'}, remove: [x-secret]}
        response: {add: {x-served: mesh}, remove: [server]}
      route:
        - destination: {host: a}
          headers:
            request: {set: {x-level: destination}}
            response: {set: {x-version: v1}}",
    );
    let sent = world
        .edge("http://h/")
        .header("x-secret", "1")
        .header("x-level", "client")
        .send()
        .sent();
    assert_eq!(sent.header("x-level"), Some("destination"));
    assert_eq!(sent.header("x-route"), Some("yes"));
    assert_eq!(sent.header("x-secret"), None);
    let response = sent.response(None);
    assert_eq!(
        (&response["x-served"], &response["x-version"]),
        (&"mesh".parse().unwrap(), &"v1".parse().unwrap())
    );
}

#[test]
fn setting_the_host_header_rewrites_the_authority() {
    let mut world = world(
        "    - headers: {request: {set: {host: route.example}}}
      route:
        - destination: {host: a}
          headers: {request: {set: {':authority': destination.example}}}",
    );
    assert_eq!(
        world.edge("http://h/").send().sent().header("host"),
        Some("route.example")
    );
}

#[test]
fn there_is_no_timeout_unless_the_rule_has_one() {
    let timeout = |fields: &str| rule(fields).edge("http://h/").send().sent().forward.timeout;
    assert_eq!(timeout("name: x"), None);
    assert_eq!(timeout("timeout: 1s"), Some(Duration::from_secs(1)));
    assert_eq!(timeout("timeout: 0s"), None);
}

#[test]
fn a_workload_can_set_its_own_timeout_and_a_client_outside_cannot() {
    let yaml = services(&[("shop", "a")]);
    let mut world = World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "client", &[], 1);
    let call = world.from("shop", "client", "http://a/");
    let call = call.header("x-envoy-upstream-rq-timeout-ms", "250");
    let forward = call
        .header("x-envoy-upstream-rq-per-try-timeout-ms", "100")
        .send()
        .sent()
        .forward;
    assert_eq!(forward.timeout, Some(Duration::from_millis(250)));
    assert_eq!(forward.per_try_timeout, Some(Duration::from_millis(100)));
    let mut outside = rule("timeout: 1s");
    let call = outside
        .edge("http://h/")
        .header("x-envoy-upstream-rq-timeout-ms", "250");
    assert_eq!(
        call.send().sent().forward.timeout,
        Some(Duration::from_secs(1))
    );
}

#[test]
fn a_fault_is_sampled_by_percentage_in_either_spelling() {
    for (fault, expected) in [
        (
            "{abort: {httpStatus: 503, percentage: {value: 100}}}",
            Some(503),
        ),
        ("{abort: {httpStatus: 503, percent: 100}}", Some(503)),
        ("{abort: {httpStatus: 503, percentage: {value: 0}}}", None),
    ] {
        let mut world = rule(&format!("fault: {fault}"));
        let forward = world.edge("http://h/").send().sent().forward;
        let abort = forward.fault(&mut world.rng).abort;
        assert_eq!(
            abort.as_ref().map(|it| it.status.as_u16()),
            expected,
            "{fault}"
        );
        if let Some(abort) = abort {
            assert_eq!(
                (abort.flags.to_string().as_str(), &abort.body[..]),
                ("FI", &b"fault filter abort"[..])
            );
        }
    }
    let mut world = rule("fault: {delay: {fixedDelay: 2s, percent: 100}}");
    let forward = world.edge("http://h/").send().sent().forward;
    assert_eq!(
        forward.fault(&mut world.rng).delay,
        Some(Duration::from_secs(2))
    );
}

#[test]
fn a_fault_also_aborts_own_replies() {
    // A rule of its own cannot have both, but a delegate's has what its root has.
    let root = "  hosts: ['*']\n  gateways: [gw]\n  http:\n    - delegate: {name: own}\n      \
                fault: {abort: {httpStatus: 500, percentage: {value: 100}}}";
    let yaml = services(&[("shop", "a")])
        + &gateway("shop", "gw")
        + &virtual_service("shop", "vs", root)
        + &virtual_service("shop", "own", "  http:\n    - redirect: {uri: /new}");
    let mut world = World::new(&yaml);
    assert_eq!(world.edge("http://h/").send().summary(), "500 FI");
}

#[test]
fn an_abort_has_the_headers_of_a_destination_that_does_not_exist() {
    let spec = "  hosts: ['*']\n  gateways: [gw]\n  http:\n    \
                - fault: {abort: {httpStatus: 400, percentage: {value: 100}}}\n      \
                headers: {response: {set: {x-rule: '1'}}}\n      \
                route:\n        \
                - {destination: {host: a, subset: gone}, weight: 100, \
                headers: {response: {set: {x-gone: '1'}}}}\n        \
                - {destination: {host: a}, weight: 0}";
    let yaml =
        services(&[("shop", "a")]) + &gateway("shop", "gw") + &virtual_service("shop", "vs", spec);
    let mut world = World::new(&yaml);
    let response = world.edge("http://h/").send().reply().into_response();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["x-rule"], "1");
    assert_eq!(response.headers()["x-gone"], "1");
}

#[test]
fn mirrors_are_sampled_by_percentage_and_100_is_the_default() {
    let count = |fields: &str| {
        let mut world = rule(fields);
        let forward = world.edge("http://h/").send().sent().forward;
        let mut count: HashMap<String, usize> = HashMap::new();
        for _ in 0..1000 {
            for mirror in forward.mirrors(&mut world.rng) {
                *count
                    .entry(mirror.cluster.service_name.clone())
                    .or_default() += 1;
            }
        }
        count
    };
    assert_eq!(
        count("mirror: {host: b}"),
        HashMap::from([("b".into(), 1000)])
    );
    assert_eq!(
        count("mirror: {host: b}\n      mirrorPercentage: {value: 0}"),
        HashMap::new()
    );
    assert_eq!(count("mirror: {host: gone}"), HashMap::new());
    let several = count(
        "mirrors: [{destination: {host: b}, percentage: {value: 50}}, {destination: {host: a}}]",
    );
    assert_eq!(several["a"], 1000);
    assert!((400..600).contains(&several["b"]), "{several:?}");
}

const CORS: &str = "corsPolicy:
        allowOrigins: [{exact: 'https://shop.example'}, {regex: 'https://.*[.]partner[.]example'}]
        allowMethods: [GET, POST]
        allowHeaders: [x-user]
        exposeHeaders: [x-total]
        maxAge: 24h
        allowCredentials: true";

#[test]
fn a_preflight_from_an_allowed_origin_gets_a_reply() {
    let mut world = rule(CORS);
    let call = world
        .edge("http://h/")
        .method(Method::OPTIONS)
        .header("origin", "https://a.partner.example");
    let response = call
        .header("access-control-request-method", "DELETE")
        .send()
        .reply()
        .into_response();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://a.partner.example"
    );
    assert_eq!(headers["access-control-allow-methods"], "GET,POST");
    assert_eq!(headers["access-control-allow-headers"], "x-user");
    assert_eq!(headers["access-control-max-age"], "86400");
    assert_eq!(headers["access-control-allow-credentials"], "true");
}

#[test]
fn other_origins_and_plain_options_requests_are_forwarded() {
    let mut world = rule(CORS);
    let preflight = |origin: &'static str, world: &mut World| {
        let call = world
            .edge("http://h/")
            .method(Method::OPTIONS)
            .header("origin", origin);
        call.header("access-control-request-method", "GET").send()
    };
    assert!(matches(preflight("https://evil.example", &mut world)));
    assert!(matches(
        world
            .edge("http://h/")
            .method(Method::OPTIONS)
            .header("origin", "https://shop.example")
            .send()
    ));
}

#[test]
fn responses_to_an_allowed_origin_have_cors_headers() {
    let mut world = rule(CORS);
    let sent = world
        .edge("http://h/")
        .header("origin", "https://shop.example")
        .send()
        .sent();
    let headers = sent.response(Some("https://shop.example"));
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_eq!(headers["access-control-expose-headers"], "x-total");
    assert!(sent.response(Some("https://evil.example")).is_empty());
    assert!(sent.response(None).is_empty());
}

#[test]
fn a_forward_knows_the_name_and_index_of_its_rule() {
    let mut world = world(
        "    - match: [{uri: {prefix: /x}}]
      name: first
      route: [{destination: {host: a}}]
    - route: [{destination: {host: b}}]",
    );
    let forward = world.edge("http://h/x").send().sent().forward;
    assert_eq!((forward.route_name(), forward.rule_index()), ("first", 0));
    let forward = world.edge("http://h/").send().sent().forward;
    assert_eq!((forward.route_name(), forward.rule_index()), ("default", 1));
    let object = forward.virtual_service().expect("one");
    assert_eq!(object.qualified_name(), "shop/vs");
    assert!(object.at.line > 1);
}

#[test]
fn own_replies_have_cors_headers() {
    let mut world = world(&format!(
        "    - {CORS}
      headers: {{response: {{set: {{x-served: mesh}}}}}}
      route: [{{destination: {{host: gone}}}}]"
    ));
    let call = world
        .edge("http://h/")
        .header("origin", "https://shop.example");
    let response = call.send().reply().into_response();
    assert_eq!(response.status(), 503);
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_eq!(response.headers()["x-served"], "mesh");
}
