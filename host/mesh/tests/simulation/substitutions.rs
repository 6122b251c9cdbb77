//! Envoy's substitutions in the values of headers. The expected values are those of Envoy 1.40
//! for the same request, besides addresses, names and times.

use galleria_mesh::ResponseFlags;
use http::StatusCode;

use crate::world::{World, gateway, services, virtual_service};

/// The value that is sent with a request, and with its response.
const VALUES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("", None, None),
    ("plain", Some("plain"), Some("plain")),
    ("%REQ(x-in)%", Some("hello world"), Some("hello world")),
    ("%REQ(X-In)%", Some("hello world"), Some("hello world")),
    ("%REQ(x-no)%", None, None),
    ("%REQ(x-no?x-in)%", Some("hello world"), Some("hello world")),
    ("%REQ(x-in?x-no):3%", Some("hel"), Some("hel")),
    ("%REQ(x-in):0%", None, None),
    (
        "%REQ(x-in):99999999999%",
        Some("hello world"),
        Some("hello world"),
    ),
    ("a%REQ(x-no)%b", Some("ab"), Some("ab")),
    ("%%", Some("%"), Some("%")),
    ("100%%", Some("100%"), Some("100%")),
    ("%%REQ(x-in)%%", Some("%REQ(x-in)%"), Some("%REQ(x-in)%")),
    ("%REQ(x-dup)%", Some("1"), Some("1")),
    ("%REQ(:PATH)%", Some("/a/b?q=1"), Some("/new/a/b?q=1")),
    ("%REQ(:AUTHORITY)%", Some("shop.test"), Some("shop.test")),
    ("%REQ(HOST)%", Some("shop.test"), Some("shop.test")),
    ("%REQ(:METHOD)%", Some("GET"), Some("GET")),
    ("%REQ(:SCHEME)%", Some("http"), Some("http")),
    (
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        Some("/a/b?q=1"),
        Some("/a/b?q=1"),
    ),
    // Headers of the same route are written at once.
    ("%REQ(x-written)%", None, Some("yes it is")),
    ("%REQ(x-removed)%", None, None),
    ("%PATH%", Some("/a/b?q=1"), Some("/a/b?q=1")),
    ("%PATH(NQ:PATH)%", Some("/a/b"), Some("/new/a/b")),
    ("%PATH(NQ:ORIG)%", None, Some("/a/b")),
    ("%QUERY_PARAM(q)%", Some("1"), Some("1")),
    ("%QUERY_PARAM(p)%", None, None),
    ("%PROTOCOL%", Some("HTTP/1.1"), Some("HTTP/1.1")),
    (
        "%PROTOCOL%/%ROUTE_NAME%",
        Some("HTTP/1.1/named"),
        Some("HTTP/1.1/named"),
    ),
    ("%RESPONSE_CODE%", Some("0"), Some("503")),
    ("%RESPONSE_FLAGS%", Some("-"), Some("UH")),
    ("%RESP(b-up)%", None, Some("from upstream")),
    ("%RESP(:STATUS)%", None, Some("503")),
    (
        "%UPSTREAM_CLUSTER%",
        Some("outbound|80||a.shop.svc.cluster.local"),
        Some("outbound|80||a.shop.svc.cluster.local"),
    ),
    (
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        Some("198.51.100.7"),
        Some("198.51.100.7"),
    ),
    ("%DOWNSTREAM_LOCAL_PORT%", Some("80"), Some("80")),
    (
        "%START_TIME%",
        Some("2023-11-14T22:13:20.000Z"),
        Some("2023-11-14T22:13:20.000Z"),
    ),
    (
        "%START_TIME(%s.%3f)%",
        Some("1700000000.000"),
        Some("1700000000.000"),
    ),
    (
        "%TRACE_ID%",
        Some("0af7651916cd43dd8448eb211c80319c"),
        Some("0af7651916cd43dd8448eb211c80319c"),
    ),
    // Envoy knows these at other times, or this host does not.
    ("%UPSTREAM_HOST%", None, None),
    ("%TRAILER(x)%", None, None),
    ("[%DYNAMIC_METADATA(a:b)%]", Some("[]"), Some("[]")),
];

fn world(headers: &str, action: &str) -> World {
    let spec = format!(
        "  hosts: ['*']\n  gateways: [gw]\n  http:\n    - name: named\n      headers: {headers}\n      {action}"
    );
    let yaml =
        services(&[("shop", "a")]) + &gateway("shop", "gw") + &virtual_service("shop", "vs", &spec);
    World::new(&yaml).pods("shop", "a", &[("app", "a")], 1)
}

const ROUTE: &str = "rewrite: {uri: /new/}\n      route: [{destination: {host: a}}]";

#[test]
fn values_of_headers_are_those_of_envoy() {
    for (value, request, response) in VALUES {
        let value = value.replace('\'', "''");
        let changes = format!(
            "{{request: {{set: {{x-out: '{value}'}}, add: {{x-written: yes it is}}, remove: [x-removed]}}, \
             response: {{add: {{x-out: '{value}'}}}}}}"
        );
        let mut world = world(&changes, ROUTE);
        let call = world
            .edge("http://shop.test/a/b?q=1")
            .source_ip("198.51.100.7");
        let call = call.header("x-in", "hello world").header("x-removed", "1");
        let sent = call.header("x-dup", "1").header("x-dup", "2").send().sent();
        assert_eq!(sent.header("x-out"), *request, "request: {value}");
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = StatusCode::SERVICE_UNAVAILABLE;
        parts.extensions.insert(ResponseFlags::UH);
        let upstream = http::HeaderValue::from_static("from upstream");
        parts.headers.insert("b-up", upstream);
        sent.forward.apply_response(None, &mut parts);
        let written = parts.headers.get("x-out").and_then(|it| it.to_str().ok());
        assert_eq!(written, *response, "response: {value}");
    }
}

#[test]
fn empty_value_leaves_a_header_as_it_was() {
    let headers = "{request: {set: {x-a: '%REQ(x-no)%', x-b: ''}, add: {x-c: '%REQ(x-no)%'}}}";
    let mut world = world(headers, ROUTE);
    let call = world.edge("http://shop.test/");
    let call = call
        .header("x-a", "a")
        .header("x-b", "b")
        .header("x-c", "c");
    let sent = call.send().sent();
    for (name, expected) in [("x-a", "a"), ("x-b", "b"), ("x-c", "c")] {
        let values: Vec<_> = sent.request.headers.get_all(name).iter().collect();
        assert_eq!(values, [expected], "{name}");
    }
}

#[test]
fn own_replies_have_the_values_of_the_request() {
    let headers = "{response: {set: {x-out: '%REQ(x-in)% %REQ(:PATH)% %RESPONSE_CODE% %RESP(:STATUS)% %ROUTE_NAME%'}}}";
    for (action, expected) in [
        (
            "directResponse: {status: 418}",
            "hello /direct?q=1 0 418 named",
        ),
        ("redirect: {uri: /other}", "hello /direct?q=1 0 301 named"),
    ] {
        let mut world = world(headers, action);
        let call = world
            .edge("http://shop.test/direct?q=1")
            .header("x-in", "hello");
        let reply = call.send().reply();
        let written = reply.headers.iter().find(|(name, _)| name == "x-out");
        let written = written.and_then(|(_, value)| value.to_str().ok());
        assert_eq!(written, Some(expected), "{action}");
    }
}

#[test]
fn host_is_set_as_written() {
    let headers = "{request: {set: {host: '100%%.test'}}}";
    let mut world = world(headers, "route: [{destination: {host: a}}]");
    let sent = world.edge("http://shop.test/").send().sent();
    assert_eq!(sent.header("host"), Some("100%%.test"));
}

#[test]
fn gateway_api_does_not_substitute() {
    let yaml = services(&[("shop", "a")])
        + "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {gatewayClassName: galleria, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route, namespace: shop}
spec:
  parentRefs: [{name: gw}]
  rules:
    - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-out, value: '%REQ(x-in)% 50%'}]}}]
      backendRefs: [{name: a, port: 80}]
";
    let mut world = World::new(&yaml).pods("shop", "a", &[("app", "a")], 1);
    let sent = world.edge("http://shop.test/").send().sent();
    assert_eq!(sent.header("x-out"), Some("%REQ(x-in)% 50%"));
}
