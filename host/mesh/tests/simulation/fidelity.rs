//! Routing as Istio's control plane and Envoy do it where the reference is silent. Each row was
//! found by `cargo xtask conformance istio`.

use galleria_mesh::{Options, OutboundPolicy};

use crate::world::{World, istio, services, virtual_service};

/// Two Gateways on the ports 80 and 8080, the services `a` and `b` in `shop` and `c` in
/// `bank`, and callers in both.
fn world(yaml: &str) -> World {
    let servers = "  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.test', shop.test]}
  - {port: {number: 8080, name: alt, protocol: HTTP}, hosts: ['*']}";
    let base = services(&[("shop", "a"), ("shop", "b"), ("bank", "c")])
        + &istio("Gateway", "shop", "gw", servers);
    let options = Options {
        outbound_policy: OutboundPolicy::AllowAny,
        ..Options::default()
    };
    World::with_options(&(base + yaml), options)
        .pods("shop", "a", &[("app", "a"), ("version", "v1")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("bank", "c", &[("app", "c")], 1)
        .pods("shop", "client", &[("app", "client")], 1)
}

fn rule(name: &str, hosts: &str, gateways: &str, http: &str) -> String {
    let spec = format!("  hosts: {hosts}\n  gateways: {gateways}\n  http: {http}");
    virtual_service("shop", name, &spec)
}

/// The service that answers, or the status of the mesh's own reply.
fn answer(world: &mut World, url: &str, caller: Option<(&str, &str)>) -> String {
    let call = match caller {
        None => world.edge(url),
        Some((namespace, name)) => world.from(namespace, name, url),
    };
    let summary = call.send().summary();
    let service = summary.rsplit('|').next().unwrap_or_default();
    service.split('.').next().unwrap_or_default().to_owned()
}

const CLIENT: Option<(&str, &str)> = Some(("shop", "client"));
const OTHER: Option<(&str, &str)> = Some(("bank", "c"));

#[test]
fn a_virtual_service_without_a_rule_for_the_place_does_not_exist_there() {
    let to = |service: &str| {
        format!("route: [{{destination: {{host: {service}.shop.svc.cluster.local}}}}]")
    };
    let (a, b) = (to("a"), to("b"));
    let wildcard = rule("all", "['*.test']", "[gw]", &format!("[{{{b}}}]"));
    for (condition, url, caller, expected) in [
        // At the gateway, the wildcard host decides.
        ("port: 8080", "http://shop.test/", None, "b"),
        ("port: 8080", "http://shop.test:8080/", None, "a"),
        ("gateways: [mesh]", "http://shop.test/", None, "b"),
        (
            "sourceLabels: {app: client}",
            "http://shop.test/",
            None,
            "b",
        ),
        ("sourceNamespace: shop", "http://shop.test/", None, "b"),
        // A rule that asks for something in the request exists.
        ("uri: {exact: /x}", "http://shop.test:8080/", None, "404 NR"),
        // In the mesh, it is the service itself.
        ("port: 8080", "http://b.shop/", CLIENT, "b"),
        ("gateways: [gw]", "http://b.shop/", CLIENT, "b"),
        ("sourceLabels: {app: client}", "http://b.shop/", CLIENT, "a"),
        ("sourceLabels: {app: client}", "http://b.shop/", OTHER, "b"),
        ("sourceNamespace: shop", "http://b.shop/", OTHER, "b"),
        ("uri: {exact: /x}", "http://b.shop/", CLIENT, "404 NR"),
    ] {
        let hosts = "[shop.test, b]";
        let http = format!("[{{match: [{{{condition}}}], {a}}}]");
        let mut world = world(&(wildcard.clone() + &rule("one", hosts, "[gw, mesh]", &http)));
        assert_eq!(
            answer(&mut world, url, caller),
            expected,
            "{condition} {url}"
        );
    }
}

#[test]
fn rules_of_several_virtual_services_are_merged_by_age_with_catch_alls_last() {
    let to = |service: &str| format!("route: [{{destination: {{host: {service}}}}}]");
    let (a, b) = (to("a"), to("b"));
    for (older, younger, expected) in [
        // Only `/` and `.*` are catch-alls, whatever is decided beforehand.
        (
            format!("[{{match: [{{port: 80}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "b",
        ),
        (
            format!("[{{{a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "b",
        ),
        (
            format!("[{{match: [{{uri: {{regex: '.*'}}}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "b",
        ),
        (
            format!("[{{match: [{{uri: {{regex: '/.*'}}}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "a",
        ),
        // Each block has its own place.
        (
            format!("[{{match: [{{uri: {{exact: /x}}}}, {{uri: {{prefix: /}}}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "a",
        ),
        (
            format!("[{{match: [{{uri: {{prefix: /}}}}, {{uri: {{exact: /x}}}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /x}}}}], {b}}}]"),
            "b",
        ),
        // The host of the older one is a wildcard that the server's second host is within.
        (
            format!("[{{match: [{{uri: {{prefix: /}}}}], {a}}}]"),
            format!("[{{match: [{{uri: {{prefix: /}}}}], {b}}}]"),
            "a",
        ),
    ] {
        let yaml = rule("older", "['*.test']", "[gw]", &older)
            + &rule("younger", "[shop.test]", "[gw]", &younger);
        let mut world = world(&yaml);
        let found = answer(&mut world, "http://shop.test/x", None);
        assert_eq!(found, expected, "{older} {younger}");
    }
}

#[test]
fn only_what_is_declared_has_shorter_names_and_other_ports() {
    let to = "[{route: [{destination: {host: a}}]}]";
    for (hosts, url, expected) in [
        ("[gone]", "http://gone.shop.svc.cluster.local/", "a"),
        ("[gone]", "http://gone/", "PassthroughCluster"),
        ("[gone]", "http://gone.shop/", "PassthroughCluster"),
        ("[api.example]", "http://api.example/", "a"),
        (
            "[api.example]",
            "http://api.example:8080/",
            "PassthroughCluster",
        ),
        // A wildcard that matches a service is for services.
        ("['*.shop.svc.cluster.local']", "http://b.shop/", "a"),
        (
            "['*.shop.svc.cluster.local']",
            "http://gone.shop.svc.cluster.local/",
            "PassthroughCluster",
        ),
        ("['*.example']", "http://gone.example/", "a"),
    ] {
        let mut world = world(&rule("vs", hosts, "[mesh]", to));
        assert_eq!(answer(&mut world, url, CLIENT), expected, "{hosts} {url}");
    }
}

#[test]
fn rules_for_the_own_namespace_come_before_public_ones() {
    let public = rule(
        "public",
        "[b]",
        "[mesh]",
        "[{route: [{destination: {host: a}}]}]",
    );
    let own = virtual_service(
        "shop",
        "own",
        "  hosts: [b]\n  exportTo: ['.']\n  http: [{directResponse: {status: 418}}]",
    );
    let mut world = world(&(public + &own));
    assert_eq!(answer(&mut world, "http://b.shop/", CLIENT), "418 -");
    assert_eq!(answer(&mut world, "http://b.shop/", OTHER), "a");
}

#[test]
fn redirects_have_the_ports_and_prefixes_of_istio() {
    for (redirect, url, location) in [
        ("{port: 80}", "http://shop.test/x", "http://shop.test/x"),
        (
            "{port: 443, scheme: https}",
            "http://shop.test/x",
            "https://shop.test/x",
        ),
        (
            "{port: 8443, scheme: https}",
            "http://shop.test/x",
            "https://shop.test:8443/x",
        ),
        (
            "{derivePort: FROM_REQUEST_PORT}",
            "http://shop.test:8080/x",
            "http://shop.test:8080/x",
        ),
        (
            "{derivePort: FROM_REQUEST_PORT, scheme: https}",
            "http://shop.test:8080/x",
            "https://shop.test:8080/x",
        ),
        (
            "{authority: 'other.test:9090'}",
            "http://shop.test/x",
            "http://other.test:9090/x",
        ),
        (
            "{prefixRewrite: /new}",
            "http://shop.test/x/1?q=1",
            "http://shop.test/new/1?q=1",
        ),
        (
            "{prefixRewrite: /}",
            "http://shop.test/x/1",
            "http://shop.test//1",
        ),
    ] {
        let http = format!("[{{match: [{{uri: {{prefix: /x}}}}], redirect: {redirect}}}]");
        let mut world = world(&rule("vs", "[shop.test]", "[gw]", &http));
        let reply = world.edge(url).send().reply();
        assert_eq!(reply.headers[0].1, location, "{redirect} {url}");
    }
}

#[test]
fn header_operations_are_one_list_for_a_single_destination() {
    let changes = |place: &str| format!("headers: {{request: {{{place}}}}}");
    for (route, destination, second, expected) in [
        ("add: {x: route}", "remove: [x]", "", Some("route")),
        (
            "set: {x: route}",
            "set: {x: destination}",
            "",
            Some("destination"),
        ),
        // Of several destinations, each has a list of its own, which comes first.
        (
            "set: {x: route}",
            "set: {x: destination}",
            ", {destination: {host: b}, weight: 0}",
            Some("route"),
        ),
        (
            "remove: [x]",
            "set: {x: destination}",
            ", {destination: {host: b}, weight: 0}",
            None,
        ),
    ] {
        let (route_headers, headers) = (changes(route), changes(destination));
        let http = format!(
            "[{{{route_headers}, route: [{{destination: {{host: a}}, weight: 100, {headers}}}{second}]}}]"
        );
        let mut world = world(&rule("vs", "[shop.test]", "[gw]", &http));
        let sent = world
            .edge("http://shop.test/")
            .header("x", "client")
            .send()
            .sent();
        let added = sent.request.headers.get_all("x").iter().next_back();
        let added = added.and_then(|value| value.to_str().ok());
        assert_eq!(added, expected, "{route} {destination} {second}");
    }
}

#[test]
fn a_rewritten_authority_is_kept_in_a_header() {
    let http = "[{rewrite: {authority: inner.test}, route: [{destination: {host: a}}]}]";
    let mut world = world(&rule("vs", "[shop.test]", "[gw]", http));
    let sent = world.edge("http://shop.test/").send().sent();
    assert_eq!(sent.header("host"), Some("inner.test"));
    assert_eq!(sent.header("x-envoy-original-host"), Some("shop.test"));
}

#[test]
fn a_gateway_that_selects_another_gateway_is_not_served() {
    let other = "  selector: {istio: egressgateway}
  servers: [{port: {number: 9090, name: http, protocol: HTTP}, hosts: ['*']}]";
    let yaml = istio("Gateway", "shop", "other", other);
    let ports = |world: &World| -> Vec<u16> {
        world
            .snapshot
            .listeners()
            .iter()
            .map(|it| it.port)
            .collect()
    };
    let here = world(&yaml);
    assert_eq!(ports(&here), [80, 8080]);
    let told = here
        .diagnostics
        .iter()
        .any(|it| it.contains("selects another gateway"));
    assert!(told, "{:?}", here.diagnostics);
    let labels = [("istio".to_owned(), "egressgateway".to_owned())];
    let options = Options {
        gateway_labels: labels.into_iter().collect(),
        ..Options::default()
    };
    assert_eq!(ports(&World::with_options(&yaml, options)), [9090]);
}
