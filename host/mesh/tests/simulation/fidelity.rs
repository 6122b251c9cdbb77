//! Routing as Istio's control plane and Envoy do it where the reference is silent. Each row was
//! found by `cargo xtask conformance istio`.

use galleria_mesh::{Options, OutboundPolicy};

use crate::world::{World, destination_rule, istio, services, virtual_service};

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
fn a_virtual_service_without_a_rule_for_the_place_leaves_it_to_the_next() {
    let entry = |host: &str| {
        let ports = "[{number: 80, name: http, protocol: HTTP}]";
        let spec = format!("  hosts: ['{host}']\n  resolution: NONE\n  ports: {ports}");
        istio("ServiceEntry", "shop", "entry", &spec)
    };
    let elsewhere = "[{match: [{port: 8080}], directResponse: {status: 418}}]";
    let to_a = "[{route: [{destination: {host: a.shop.svc.cluster.local}}]}]";
    let to_x = "[{match: [{uri: {exact: /x}}], route: [{destination: {host: a}}]}]";
    for (hosts, first, second, url, expected) in [
        // Of the same host.
        (["b", "b"], elsewhere, to_a, "http://b.shop/", "a"),
        (["b", "b"], elsewhere, elsewhere, "http://b.shop/", "b"),
        (["b", "b"], elsewhere, to_x, "http://b.shop/", "404 NR"),
        (["b", "b"], to_x, to_a, "http://b.shop/", "404 NR"),
        (["x.test", "x.test"], elsewhere, to_a, "http://x.test/", "a"),
        (
            ["'*.test'", "'*.test'"],
            elsewhere,
            to_a,
            "http://x.test/",
            "a",
        ),
        // A service is of one wildcard only.
        (
            ["b", "'*.shop.svc.cluster.local'"],
            elsewhere,
            to_a,
            "http://b.shop/",
            "b",
        ),
        (
            ["'*.svc.cluster.local'", "'*.svc.cluster.local'"],
            elsewhere,
            to_a,
            "http://b.shop/",
            "b",
        ),
        // What nothing declares does not exist then.
        (
            ["x.test", "'*.test'"],
            elsewhere,
            to_a,
            "http://x.test/",
            "a",
        ),
        (
            ["x.wild.example", "other.test"],
            elsewhere,
            to_a,
            "http://x.wild.example/",
            "*",
        ),
    ] {
        let mut world = world(
            &(entry("*.wild.example")
                + &rule("first", &format!("[{}]", hosts[0]), "[mesh]", first)
                + &rule("second", &format!("[{}]", hosts[1]), "[mesh]", second)),
        );
        let found = answer(&mut world, url, CLIENT);
        assert_eq!(found, expected, "{hosts:?} {first} {second} {url}");
    }
}

#[test]
fn destination_rules_for_some_namespaces_do_not_exist_for_others() {
    let to_subset = |subset: &str| {
        let to = format!("{{host: a.shop.svc.cluster.local, subset: {subset}}}");
        let http = format!("[{{route: [{{destination: {to}}}]}}]");
        rule("vs", &format!("[{subset}.test]"), "[mesh]", &http)
            .replace("name: vs", &format!("name: {subset}"))
    };
    let rule_of = |namespace: &str, name: &str, host: &str, export_to: &str, subset: &str| {
        let subsets = format!("[{{name: {subset}, labels: {{version: v1}}}}]");
        let spec = format!("  host: '{host}'\n  exportTo: {export_to}\n  subsets: {subsets}");
        destination_rule(namespace, name, &spec)
    };
    let (a, all) = ("a.shop.svc.cluster.local", "*.shop.svc.cluster.local");
    for (rules, in_shop, in_bank) in [
        // A private rule hides no wildcard from others.
        (
            [("shop", a, "['.']", "v1"), ("shop", all, "['*']", "v2")],
            "v1",
            "v2",
        ),
        // A rule that is not for its own namespace is not there.
        (
            [("bank", a, "[shop]", "v1"), ("shop", a, "['*']", "v2")],
            "v2",
            "v2",
        ),
        (
            [("bank", a, "['.']", "v1"), ("shop", a, "['*']", "v2")],
            "v2",
            "v1",
        ),
        // Only rules for the same namespaces are one rule.
        (
            [("shop", a, "['*']", "v1"), ("shop", a, "['*']", "v2")],
            "v1 v2",
            "v1 v2",
        ),
        (
            [("shop", a, "['*']", "v1"), ("shop", a, "['.']", "v2")],
            "v2",
            "v1",
        ),
        (
            [("shop", a, "['.']", "v1"), ("shop", a, "['.', bank]", "v2")],
            "v1 v2",
            "v2",
        ),
    ] {
        let yaml = rules.iter().enumerate();
        let yaml = yaml.map(|(number, (namespace, host, export_to, subset))| {
            rule_of(namespace, &format!("dr{number}"), host, export_to, subset)
        });
        let yaml: String = yaml.collect();
        let mut world = world(&(yaml + &to_subset("v1") + &to_subset("v2")));
        let mut seen = |caller| {
            let subsets = ["v1", "v2"].into_iter();
            let seen = subsets.filter(|subset| {
                let url = format!("http://{subset}.test/");
                answer(&mut world, &url, caller) == "a"
            });
            seen.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(seen(CLIENT), in_shop, "{rules:?}");
        assert_eq!(seen(OTHER), in_bank, "{rules:?}");
    }
}

#[test]
fn names_of_a_rule_that_delegates_are_those_of_its_own_namespace() {
    let root =
        "[{match: [{gateways: [gw]}], mirror: {host: b}, delegate: {name: d, namespace: bank}}]";
    for child in ["", "match: [{gateways: [shop/gw]}], "] {
        let to_a = "route: [{destination: {host: a.shop.svc.cluster.local}}]";
        let delegate = virtual_service("bank", "d", &format!("  http: [{{{child}{to_a}}}]"));
        let mut world = world(&(rule("root", "[shop.test]", "[gw]", root) + &delegate));
        let sent = world.edge("http://shop.test/").send().sent();
        assert_eq!(sent.forward.cluster.service_name, "a", "{child}");
        let mut mirrors = sent.forward.mirrors(&mut world.rng);
        let mirror = mirrors.next().expect("a mirror");
        assert_eq!(mirror.cluster.service_fqdn, "b.shop.svc.cluster.local");
    }
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

#[test]
fn what_is_in_front_of_a_port_is_said_by_the_first_gateway_served_here() {
    let annotated = |name: &str, selector: &str, topology: &str| {
        let spec = format!(
            "  selector: {{istio: {selector}}}\n  servers: [{{port: {{number: 9090, name: http, \
             protocol: HTTP}}, hosts: ['*']}}]"
        );
        let metadata = format!(
            "name: {name}, annotations: {{proxy.istio.io/config: 'gatewayTopology: {topology}'}},"
        );
        istio("Gateway", "shop", name, &spec).replacen(&format!("name: {name},"), &metadata, 1)
    };
    let mesh_config = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}'}
---
";
    let proxied = annotated("proxied", "ingressgateway", "{proxyProtocol: {}}");
    let plain = annotated("plain", "ingressgateway", "{numTrustedProxies: 1}");
    let elsewhere = annotated("elsewhere", "egressgateway", "{proxyProtocol: {}}");
    let of_mesh = mesh_config.replace("numTrustedProxies: 2", "proxyProtocol: {}");
    for (yaml, expected) in [
        (proxied.clone(), (None, true)),
        (format!("{mesh_config}{proxied}"), (Some(2), true)),
        (format!("{proxied}{plain}"), (None, true)),
        (format!("{plain}{proxied}"), (Some(1), false)),
        (format!("{elsewhere}{plain}"), (Some(1), false)),
        (format!("{of_mesh}{plain}"), (Some(1), true)),
    ] {
        let world = world(&yaml);
        let topology = |port| {
            let topology = world.snapshot.gateway_topology(port);
            (topology.num_trusted_proxies, topology.proxy_protocol)
        };
        assert_eq!(topology(9090), expected, "{yaml}");
        let other = (
            yaml.contains("Proxies: 2").then_some(2),
            yaml == format!("{of_mesh}{plain}"),
        );
        assert_eq!(topology(80), other, "another Gateway's port: {yaml}");
    }
}

#[test]
fn a_host_that_no_service_declares_has_the_ports_of_each_virtual_service() {
    let reply = |status: u16| format!("[{{directResponse: {{status: {status}}}}}]");
    let of = |name: &str, hosts: &str, status| rule(name, hosts, "[mesh]", &reply(status));
    let other_port = "apiVersion: v1\nkind: Service\nmetadata: {name: d, namespace: shop}\n\
                      spec: {selector: {app: d}, ports: [{name: http, port: 8080}]}\n---\n";
    let private = istio(
        "ServiceEntry",
        "bank",
        "private",
        "  hosts: [api.other.example]\n  exportTo: ['.']\n  resolution: DNS\n  \
         ports: [{number: 80, name: http, protocol: HTTP}]",
    );
    let wildcard = of("all", "['*.svc.cluster.local', x.example]", 401);
    for (rules, url, caller, expected) in [
        // Each VirtualService is for the ports of the services that it names itself.
        (
            of("one", "[a, x.example]", 401) + &of("two", "[d, x.example]", 402),
            "http://x.example:8080/",
            CLIENT,
            "402 -",
        ),
        (
            of("one", "[a, x.example]", 401) + &of("two", "[d, x.example]", 402),
            "http://x.example/",
            CLIENT,
            "401 -",
        ),
        // A wildcard only names a service that no other VirtualService names better.
        (wildcard.clone(), "http://x.example:8080/", CLIENT, "401 -"),
        (
            wildcard + &of("own", "[d]", 402),
            "http://x.example:8080/",
            CLIENT,
            "PassthroughCluster",
        ),
        // Which services a wildcard matches depends on the caller.
        (
            of("all", "['*.other.example']", 401),
            "http://x.other.example/",
            CLIENT,
            "401 -",
        ),
        (
            of("all", "['*.other.example']", 401),
            "http://x.other.example/",
            OTHER,
            "PassthroughCluster",
        ),
    ] {
        let mut world = world(&format!("{other_port}{private}{rules}"));
        let answered = answer(&mut world, url, caller);
        assert_eq!(answered, expected, "{url} {rules}");
    }
}
