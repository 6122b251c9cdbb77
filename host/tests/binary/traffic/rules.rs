//! How rules modify and answer requests.

use super::{Shop, flags, with_rules};
use crate::support::{Answer, Service};

/// `app` responds with the request that it received.
fn echo(rule: &str) -> Shop {
    Shop::start(&with_rules(&[Service::new("app", "echo")], rule, &[]))
}

/// The values of a header that the guest received.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let lines = answer.body.lines().skip(1);
    let headers = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    headers
        .filter(|header| header["name"] == name)
        .filter_map(|header| header["value"].as_str().map(str::to_owned))
        .collect()
}

/// The head of the request that the guest received.
fn head(answer: &Answer) -> serde_json::Value {
    let first = answer.body.lines().next().expect("a line");
    serde_json::from_str(first).expect("JSON")
}

#[test]
fn headers_are_set_added_and_removed_in_both_directions() {
    let shop = echo(
        "    - match: [{uri: {prefix: /app}}]
      headers:
        request: {set: {x-set: rule}, add: {x-add: rule}, remove: [x-gone]}
        response: {set: {x-answer: rule}, remove: [content-type]}
      route:
        - destination: {host: app}
          headers: {request: {add: {x-add: destination}}}
",
    );
    let answer = shop.host.get_with(
        "/app",
        &[
            ("x-set", "client"),
            ("x-add", "client"),
            ("x-gone", "client"),
        ],
    );
    assert_eq!(answer.status, 200);
    assert_eq!(seen(&answer, "x-set"), ["rule"]);
    let added = seen(&answer, "x-add").join(",");
    assert_eq!(added, "client,rule,destination");
    assert!(seen(&answer, "x-gone").is_empty());
    assert_eq!(answer.header("x-answer"), "rule");
    assert!(!answer.headers.contains_key("content-type"));
}

#[test]
fn rewrite_replaces_the_prefix_and_the_host_and_keeps_the_query() {
    let shop = echo(
        "    - match: [{uri: {prefix: /shop}}]
      rewrite: {uri: /store, authority: inside.example.com}
      route: [{destination: {host: app}}]
    - match: [{uri: {regex: '/item/[0-9]+'}}]
      rewrite: {uriRegexRewrite: {match: '^/item/([0-9]+)$', rewrite: '/items/\\1'}}
      route: [{destination: {host: app}}]
",
    );
    let answer = shop.host.get("/shop/cart?page=2");
    let asked = head(&answer);
    assert_eq!(asked["target"], "/store/cart?page=2");
    assert_eq!(asked["authority"], "inside.example.com");
    assert_eq!(
        seen(&answer, "x-envoy-original-path"),
        ["/shop/cart?page=2"]
    );
    assert_eq!(head(&shop.host.get("/item/7"))["target"], "/items/7");
    shop.counted(&["response_code=\"200\""], 2.0);
    let call = &shop.calls("/shop/cart?page=2", 1)[0];
    assert_eq!(flags(call), "-");
}

#[test]
fn mesh_answers_cors_preflight() {
    let shop = echo(
        "    - match: [{uri: {prefix: /app}}]
      route: [{destination: {host: app}}]
      corsPolicy:
        allowOrigins: [{exact: 'https://shop.example.com'}]
        allowMethods: [GET, POST]
        allowHeaders: [x-basket]
        maxAge: 10m
",
    );
    let origin = ("origin", "https://shop.example.com");
    let asked = ("access-control-request-method", "POST");
    let answer = shop.host.send("OPTIONS", "/app/asks", &[origin, asked]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), origin.1);
    assert_eq!(answer.header("access-control-allow-methods"), "GET,POST");
    assert_eq!(answer.header("access-control-allow-headers"), "x-basket");
    assert_eq!(answer.header("access-control-max-age"), "600");
    assert!(answer.body.is_empty(), "no guest answered: {}", answer.body);

    let answer = shop.host.get_with("/app/gets", &[origin]);
    assert_eq!(answer.header("access-control-allow-origin"), origin.1);
    assert!(!answer.body.is_empty());
    let answer = shop
        .host
        .get_with("/app", &[("origin", "https://evil.example.com")]);
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert_eq!(shop.calls("/app/asks", 1)[0]["attempts"], 0);
    assert_eq!(shop.calls("/app/gets", 1)[0]["attempts"], 1);
    shop.counted(&["response_code=\"200\""], 3.0);
}
