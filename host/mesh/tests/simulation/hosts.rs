//! Which VirtualService applies to which host, for which caller.

use crate::world::{World, destination_rule, gateway, services, virtual_service};

/// Three services in two namespaces with one pod each, and a client in `shop`.
fn world(yaml: &str) -> World {
    let base = services(&[("shop", "a"), ("shop", "b"), ("other", "c")]);
    World::new(&(base + yaml))
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("other", "c", &[("app", "c")], 1)
        .pods("shop", "client", &[("app", "client"), ("tier", "web")], 1)
        .pods("other", "stranger", &[("app", "stranger")], 1)
}

fn to(destination: &str) -> String {
    format!("  http: [{{route: [{{destination: {{host: {destination}}}}}]}}]")
}

fn cluster(world: &mut World, namespace: &str, from: &str, url: &str) -> String {
    world.from(namespace, from, url).send().summary()
}

#[test]
fn a_short_host_is_a_service_in_the_namespace_of_the_virtual_service() {
    let mut world = world(&virtual_service(
        "shop",
        "vs",
        &format!("  hosts: [a]\n{}", to("b")),
    ));
    let b = "outbound|80||b.shop.svc.cluster.local";
    assert_eq!(cluster(&mut world, "shop", "client", "http://a/"), b);
    assert_eq!(
        cluster(&mut world, "other", "stranger", "http://a.shop/"),
        b
    );
}

#[test]
fn a_destination_in_another_namespace_needs_its_full_name() {
    let full = virtual_service(
        "shop",
        "vs",
        &format!("  hosts: [a]\n{}", to("c.other.svc.cluster.local")),
    );
    let mut full = world(&full);
    assert_eq!(
        cluster(&mut full, "shop", "client", "http://a/"),
        "outbound|80||c.other.svc.cluster.local"
    );
    let mut short = world(&virtual_service(
        "shop",
        "vs",
        &format!("  hosts: [a]\n{}", to("c")),
    ));
    assert_eq!(cluster(&mut short, "shop", "client", "http://a/"), "503 NC");
}

#[test]
fn the_older_of_two_virtual_services_for_a_mesh_host_applies() {
    let first = virtual_service("shop", "first", &format!("  hosts: [a]\n{}", to("b")));
    let second = virtual_service("shop", "second", &format!("  hosts: [a]\n{}", to("a")));
    let mut world = world(&(first + &second));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|b.shop"));
}

#[test]
fn a_virtual_service_with_a_timestamp_is_older_than_one_without() {
    let first = virtual_service("shop", "first", &format!("  hosts: [a]\n{}", to("b")));
    let second = virtual_service("shop", "second", &format!("  hosts: [a]\n{}", to("a"))).replace(
        "name: second,",
        "name: second, creationTimestamp: '2020-01-01T00:00:00Z',",
    );
    let mut world = world(&(first + &second));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
}

#[test]
fn an_exact_host_wins_over_wildcards_and_a_longer_wildcard_over_a_shorter_one() {
    let all = virtual_service(
        "shop",
        "all",
        &format!("  hosts: ['*.cluster.local']\n{}", to("a")),
    );
    let shop = virtual_service(
        "shop",
        "shop",
        &format!("  hosts: ['*.shop.svc.cluster.local']\n{}", to("b")),
    );
    let exact = virtual_service("shop", "exact", &format!("  hosts: [a]\n{}", to("a")));
    let mut world = world(&(all + &shop + &exact));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
    assert!(cluster(&mut world, "shop", "client", "http://b/").contains("|b.shop"));
    assert!(cluster(&mut world, "other", "stranger", "http://c/").contains("|a.shop"));
}

#[test]
fn a_virtual_service_can_have_a_host_without_a_service() {
    let vs = virtual_service(
        "shop",
        "vs",
        &format!("  hosts: [reviews.example.com]\n{}", to("a")),
    );
    let mut world = world(&vs);
    let url = "http://reviews.example.com/";
    assert!(cluster(&mut world, "shop", "client", url).contains("|a.shop"));
    // Nothing declares that port.
    let url = "http://reviews.example.com:8080/";
    let answer = world.from("shop", "client", url).send();
    assert_eq!(answer.summary(), "502 -");
}

#[test]
fn a_virtual_service_without_the_gateway_mesh_does_not_apply_between_services() {
    let vs = format!("  hosts: [a]\n  gateways: [gw]\n{}", to("b"));
    let mut world = world(&(gateway("shop", "gw") + &virtual_service("shop", "vs", &vs)));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
    let edge = world
        .edge("http://a.shop.svc.cluster.local/")
        .send()
        .summary();
    assert!(edge.contains("|b.shop"));
}

#[test]
fn a_virtual_service_can_apply_to_a_gateway_and_to_the_mesh() {
    let vs = format!("  hosts: [a]\n  gateways: [mesh, shop/gw]\n{}", to("b"));
    let mut world = world(&(gateway("shop", "gw") + &virtual_service("shop", "vs", &vs)));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|b.shop"));
    let edge = world
        .edge("http://a.shop.svc.cluster.local/")
        .send()
        .summary();
    assert!(edge.contains("|b.shop"));
}

#[test]
fn gateways_of_a_match_replace_the_list_and_disable_source_conditions() {
    let vs = "  hosts: [a]
  gateways: [mesh, gw]
  http:
    - match: [{gateways: [gw], sourceLabels: {tier: none}}]
      route: [{destination: {host: b}}]
    - route: [{destination: {host: a}}]";
    let mut world = world(&(gateway("shop", "gw") + &virtual_service("shop", "vs", vs)));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
    let edge = world
        .edge("http://a.shop.svc.cluster.local/")
        .send()
        .summary();
    assert!(edge.contains("|b.shop"));
}

#[test]
fn source_labels_and_namespace_select_callers_and_never_the_edge() {
    let vs = "  hosts: [a]
  gateways: [mesh, gw]
  http:
    - match: [{sourceLabels: {tier: web}}]
      route: [{destination: {host: b}}]
    - match: [{sourceNamespace: other}]
      route: [{destination: {host: c.other.svc.cluster.local}}]
    - route: [{destination: {host: a}}]";
    let mut world = world(&(gateway("shop", "gw") + &virtual_service("shop", "vs", vs)));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|b.shop"));
    assert!(cluster(&mut world, "other", "stranger", "http://a.shop/").contains("|c.other"));
    assert!(cluster(&mut world, "shop", "b", "http://a/").contains("|a.shop"));
    let edge = world
        .edge("http://a.shop.svc.cluster.local/")
        .send()
        .summary();
    assert!(edge.contains("|a.shop"));
}

#[test]
fn the_first_rule_that_matches_wins_and_blocks_are_alternatives() {
    let vs = "  hosts: [a]
  http:
    - match: [{uri: {prefix: /x}, method: {exact: POST}}, {uri: {exact: /y}}]
      route: [{destination: {host: b}}]
    - match: [{uri: {prefix: /}}]
      route: [{destination: {host: a}}]";
    let mut world = world(&virtual_service("shop", "vs", vs));
    assert!(cluster(&mut world, "shop", "client", "http://a/x").contains("|a.shop"));
    assert!(cluster(&mut world, "shop", "client", "http://a/y").contains("|b.shop"));
    let post = world
        .from("shop", "client", "http://a/x")
        .method(http::Method::POST)
        .send();
    assert!(post.summary().contains("|b.shop"));
}

#[test]
fn a_request_that_no_rule_matches_is_404_nr() {
    let vs =
        "  hosts: [a]\n  http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: b}}]}]";
    let mut world = world(&virtual_service("shop", "vs", vs));
    assert_eq!(cluster(&mut world, "shop", "client", "http://a/"), "404 NR");
}

#[test]
fn rules_after_one_that_matches_everything_are_dropped() {
    let vs = "  hosts: [a]
  http:
    - route: [{destination: {host: a}}]
    - match: [{uri: {prefix: /x}}]
      route: [{destination: {host: b}}]";
    let mut world = world(&virtual_service("shop", "vs", vs));
    assert!(cluster(&mut world, "shop", "client", "http://a/x").contains("|a.shop"));
}

#[test]
fn an_unreachable_rule_of_a_delegate_is_reported() {
    let parent = "  hosts: [a]
  http:
    - match: [{uri: {prefix: /x}}]
      route: [{destination: {host: a}}]
    - match: [{uri: {prefix: /}}]
      delegate: {name: child, namespace: other}";
    let child = "  http:
    - match: [{uri: {prefix: /x/y}}]
      route: [{destination: {host: c}}]
    - match: [{uri: {prefix: /z}}]
      route: [{destination: {host: c}}]";
    let yaml =
        virtual_service("shop", "parent", parent) + &virtual_service("other", "child", child);
    let world = world(&yaml);
    assert_eq!(world.diagnostics.len(), 1, "{:?}", world.diagnostics);
    let text = &world.diagnostics[0];
    assert!(
        text.contains("VirtualService/child: spec.http[0]: can never match"),
        "{text}"
    );
}

#[test]
fn a_gateway_can_be_named_with_a_dot_for_its_own_namespace() {
    let vs = format!("  hosts: [a]\n  gateways: [./gw]\n{}", to("b"));
    let mut world = world(&(gateway("shop", "gw") + &virtual_service("shop", "vs", &vs)));
    let edge = world
        .edge("http://a.shop.svc.cluster.local/")
        .send()
        .summary();
    assert!(edge.contains("|b.shop"));
}

#[test]
fn a_host_made_of_dots_costs_no_more_than_a_name() {
    let vs = format!("  hosts: ['*.example']\n{}", to("b"));
    let mut world = world(&virtual_service("shop", "vs", &vs));
    let host = format!("{}example", "a.".repeat(20_000));
    assert_eq!(
        cluster(&mut world, "shop", "client", &format!("http://{host}/")),
        "502 -"
    );
}

#[test]
fn an_undeclared_host_is_502_and_the_details_say_what_would_allow_it() {
    let mut world = world("");
    let reply = world
        .from("shop", "client", "https://api.example.com/x")
        .send()
        .reply();
    assert_eq!(
        (reply.status.as_u16(), reply.flags.to_string().as_str()),
        (502, "-")
    );
    assert!(reply.body.is_empty());
    let hint = "hosts: [api.example.com], ports: [{number: 443, name: https, protocol: HTTPS}]";
    assert!(reply.details.contains(hint), "{}", reply.details);
}

#[test]
fn allow_any_forwards_to_an_undeclared_host() {
    let options = galleria_mesh::Options {
        outbound_policy: galleria_mesh::OutboundPolicy::AllowAny,
        ..Default::default()
    };
    let mut world = World::with_options("", options).pods("shop", "client", &[], 1);
    let sent = world
        .from("shop", "client", "https://api.example.com/x")
        .send()
        .sent();
    assert_eq!(sent.forward.cluster.name, "PassthroughCluster");
    assert_eq!(
        sent.picked.endpoint.target,
        galleria_mesh::Target::Requested
    );
}

#[test]
fn export_to_its_own_namespace_hides_a_virtual_service_from_others() {
    let vs = format!("  hosts: [a]\n  exportTo: ['.']\n{}", to("b"));
    let mut world = world(&virtual_service("shop", "vs", &vs));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|b.shop"));
    assert!(cluster(&mut world, "other", "stranger", "http://a.shop/").contains("|a.shop"));
}

#[test]
fn a_private_virtual_service_applies_only_to_calls_from_its_namespace() {
    let vs = format!(
        "  hosts: [a.shop.svc.cluster.local]\n  exportTo: ['.']\n{}",
        to("c.other.svc.cluster.local")
    );
    let mut world = world(&virtual_service("other", "vs", &vs));
    assert!(cluster(&mut world, "other", "stranger", "http://a.shop/").contains("|c.other"));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
}

#[test]
fn export_to_no_namespace_hides_a_virtual_service_from_all() {
    let vs = format!("  hosts: [a]\n  exportTo: ['~']\n{}", to("b"));
    let mut world = world(&virtual_service("shop", "vs", &vs));
    assert!(cluster(&mut world, "shop", "client", "http://a/").contains("|a.shop"));
}

#[test]
fn a_service_can_be_hidden_by_its_annotation() {
    let yaml = "apiVersion: v1
kind: Service
metadata: {name: d, namespace: other, annotations: {networking.istio.io/exportTo: '.'}}
spec: {selector: {app: c}, ports: [{name: http, port: 80}]}
";
    let mut world = world(yaml);
    assert!(cluster(&mut world, "other", "stranger", "http://d/").contains("|d.other"));
    assert_eq!(
        cluster(&mut world, "shop", "client", "http://d.other/"),
        "502 -"
    );
}

#[test]
fn rules_of_a_delegate_are_narrowed_to_the_match_of_the_parent() {
    let parent = "  hosts: [a]
  http:
    - match: [{uri: {prefix: /x}}]
      name: parent
      timeout: 3s
      delegate: {name: child, namespace: other}
    - route: [{destination: {host: a}}]";
    let child = "  http:
    - match: [{uri: {prefix: /x/b}, headers: {user: {exact: me}}}]
      name: child
      route: [{destination: {host: b.shop.svc.cluster.local}}]
    - match: [{uri: {prefix: /elsewhere}}]
      route: [{destination: {host: b.shop.svc.cluster.local}}]
    - timeout: 1s
      route: [{destination: {host: c}}]";
    let yaml =
        virtual_service("shop", "parent", parent) + &virtual_service("other", "child", child);
    let mut world = world(&yaml);
    let mut call = |path: &str| {
        let url = format!("http://a{path}");
        world
            .from("shop", "client", &url)
            .header("user", "me")
            .send()
            .sent()
    };
    let narrow = call("/x/b/1");
    assert_eq!(narrow.forward.cluster.service_name, "b");
    assert_eq!(narrow.forward.route_name(), "parent-child");
    assert_eq!(narrow.forward.timeout.map(|it| it.as_secs()), Some(3));
    let wide = call("/x/c");
    assert_eq!(wide.forward.cluster.service_name, "c");
    assert_eq!(wide.forward.timeout.map(|it| it.as_secs()), Some(1));
    assert_eq!(
        wide.forward.virtual_service().map(|it| it.name.as_str()),
        Some("child")
    );
    assert_eq!(call("/elsewhere").forward.cluster.service_name, "a");
    assert_eq!(world.diagnostics.len(), 1, "{:?}", world.diagnostics);
    assert!(world.diagnostics[0].contains("is outside of what"));
}

#[test]
fn a_destination_rule_of_the_callers_namespace_wins_over_that_of_the_service() {
    let rule = |namespace: &str, policy: &str| {
        let spec = format!(
            "  host: a.shop.svc.cluster.local\n  trafficPolicy: {{loadBalancer: {{simple: {policy}}}}}"
        );
        destination_rule(namespace, "dr", &spec)
    };
    let yaml = rule("shop", "RANDOM")
        + &rule("other", "ROUND_ROBIN")
        + &rule("istio-system", "LEAST_REQUEST");
    let mut world = world(&yaml);
    let mut policy = |namespace: &str, from: &str| {
        let sent = world.from(namespace, from, "http://a.shop/").send().sent();
        sent.forward.cluster.load_balancer()
    };
    assert_eq!(policy("other", "stranger"), "ROUND_ROBIN");
    assert_eq!(policy("shop", "client"), "RANDOM");
    assert_eq!(policy("third", "unknown"), "RANDOM");
}

#[test]
fn a_service_with_several_ports_is_called_on_the_requested_port() {
    let yaml = "apiVersion: v1
kind: Service
metadata: {name: d, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: http-admin, port: 9090}]}
---
"
    .to_owned()
        + &virtual_service("shop", "vs", &format!("  hosts: [d]\n{}", to("d")));
    let mut world = world(&yaml);
    assert!(cluster(&mut world, "shop", "client", "http://d/").contains("|80||d"));
    assert!(cluster(&mut world, "shop", "client", "http://d:9090/").contains("|9090||d"));
}

#[test]
fn pods_of_a_headless_service_can_be_called_by_name() {
    let yaml = "apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 80}]}
";
    let mut world = world(yaml).pods("shop", "db", &[("app", "db")], 3);
    for host in ["db-1.db", "db-1.db.shop", "db-1.db.shop.svc.cluster.local"] {
        let sent = world
            .from("shop", "client", &format!("http://{host}/"))
            .send()
            .sent();
        assert_eq!(sent.pod(), "shop/db-1", "{host}");
    }
    assert!(cluster(&mut world, "shop", "client", "http://db/").contains("|db.shop"));
}
