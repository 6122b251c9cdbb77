//! Connections that the gateway passes through: their destination by the requested name, and
//! who may open one.

use galleria_mesh::Target;
use galleria_mesh::inbound::authorization::decide_connection;

use crate::world::{World, istio, virtual_service};

/// Servers outside: two with addresses, and every name of a domain.
const OUTSIDE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: shop}
spec: {hosts: [a.outside.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: STATIC, endpoints: [{address: 192.0.2.1}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b, namespace: shop}
spec: {hosts: [b.outside.com], ports: [{number: 8443, name: tls, protocol: TLS}, {number: 443, name: more, protocol: TLS}], resolution: STATIC, endpoints: [{address: 192.0.2.2}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec: {hosts: ['*.wild.com'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}
---
";

fn gateway(servers: &str) -> String {
    istio(
        "Gateway",
        "shop",
        "gw",
        &format!("  selector: {{istio: ingressgateway}}\n  servers:\n{servers}"),
    )
}

fn server(port: u16, hosts: &str) -> String {
    format!(
        "    - {{port: {{number: {port}, name: tls-{port}, protocol: TLS}}, hosts: {hosts}, tls: {{mode: PASSTHROUGH}}}}\n"
    )
}

fn routes(hosts: &str, tls: &str) -> String {
    virtual_service(
        "shop",
        "vs",
        &format!("  hosts: {hosts}\n  gateways: [gw]\n  tls: {tls}"),
    )
}

/// Where a connection to `port` goes that requests `name`: the endpoint, or the flag.
fn reached(world: &mut World, port: u16, name: Option<&str>) -> String {
    let World { snapshot, rng, .. } = world;
    match snapshot.pass_through(port, name, rng) {
        Err(reply) => reply.flags.to_string(),
        Ok(cluster) => {
            let endpoint = cluster.endpoints().first().expect("an endpoint");
            match cluster.server_of(endpoint, name) {
                Some((host, port)) => format!("{host}:{port}"),
                None => "no socket".to_owned(),
            }
        }
    }
}

#[test]
fn requested_name_and_port_select_the_destination() {
    let to = |host: &str| format!("[{{destination: {{host: {host}}}}}]");
    let tls = format!(
        "[{{match: [{{sniHosts: [one.example.com, '*.more.example.com']}}], route: {}}},
         {{match: [{{sniHosts: ['*.example.com'], port: 443}}], route: {}}},
         {{match: [{{sniHosts: [x.wild.com]}}], route: {}}},
         {{match: [{{sniHosts: [y.other.com], gateways: [shop/elsewhere]}}], route: {}}},
         {{match: [{{sniHosts: [pod.example.com]}}], route: {}}},
         {{match: [{{sniHosts: [gone.example.com]}}], route: {}}}]",
        to("a.outside.com"),
        to("b.outside.com"),
        to("'*.wild.com'"),
        to("a.outside.com"),
        to("ui"),
        to("nothing.com"),
    );
    let yaml = crate::world::services(&[("shop", "ui")])
        + OUTSIDE
        + &gateway(&(server(443, "['*']") + &server(8443, "['*.example.com']")))
        + &routes("['*']", &tls);
    let mut world = World::new(&yaml).pods("shop", "ui", &[("app", "ui")], 1);
    for (port, name, expected) in [
        (443, Some("one.example.com"), "192.0.2.1:443"),
        (443, Some("ONE.example.com."), "192.0.2.1:443"),
        (443, Some("a.b.more.example.com"), "192.0.2.1:443"),
        // The destination has several ports: that of the listener.
        (443, Some("two.example.com"), "192.0.2.2:443"),
        (443, Some("x.wild.com"), "x.wild.com:443"),
        (443, Some("y.other.com"), "NR"),
        (443, Some("example.com"), "NR"),
        (443, None, "NR"),
        (443, Some("pod.example.com"), "no socket"),
        (443, Some("gone.example.com"), "NC"),
        (8443, Some("one.example.com"), "192.0.2.1:443"),
        (8443, Some("two.example.com"), "NR"),
        (80, Some("one.example.com"), "NR"),
    ] {
        assert_eq!(reached(&mut world, port, name), expected, "{port} {name:?}");
    }
}

#[test]
fn weights_split_connections() {
    let tls = "[{match: [{sniHosts: [one.example.com]}], route: [{destination: {host: a.outside.com}, weight: 80}, {destination: {host: b.outside.com, port: {number: 8443}}, weight: 20}]}]";
    let yaml =
        OUTSIDE.to_owned() + &gateway(&server(443, "['*']")) + &routes("[one.example.com]", tls);
    let mut world = World::new(&yaml);
    let mut to_b = 0;
    for _ in 0..1_000 {
        match reached(&mut world, 443, Some("one.example.com")).as_str() {
            "192.0.2.1:443" => {}
            "192.0.2.2:8443" => to_b += 1,
            other => panic!("{other}"),
        }
    }
    assert!((150..250).contains(&to_b), "{to_b}");
}

#[test]
fn server_needs_a_rule_of_a_virtual_service_with_one_of_its_hosts() {
    let tls = |name: &str| {
        format!(
            "[{{match: [{{sniHosts: [{name}]}}], route: [{{destination: {{host: a.outside.com}}}}]}}]"
        )
    };
    for (hosts, of_rule, is_served) in [
        ("['*']", "one.example.com", true),
        ("['*.example.com']", "one.example.com", true),
        ("[shop/one.example.com]", "one.example.com", true),
        ("[elsewhere/one.example.com]", "one.example.com", false),
        ("[other.example.com]", "one.example.com", false),
    ] {
        let yaml = OUTSIDE.to_owned()
            + &gateway(&server(443, hosts))
            + &routes(&format!("[{of_rule}]"), &tls(of_rule));
        let mut world = World::new(&yaml);
        let expected = if is_served { "192.0.2.1:443" } else { "NR" };
        assert_eq!(reached(&mut world, 443, Some(of_rule)), expected, "{hosts}");
        let listener = &world.snapshot.listeners()[0].servers[0];
        assert_eq!(!listener.sni_hosts.is_empty(), is_served, "{hosts}");
        let reported = world
            .diagnostics
            .iter()
            .any(|it| it.contains("no rule passes"));
        assert_eq!(reported, !is_served, "{hosts}: {:?}", world.diagnostics);
    }
}

#[test]
fn name_without_an_address_reaches_only_its_own_service() {
    let tls = "[{match: [{sniHosts: ['*']}], route: [{destination: {host: '*.wild.com'}}]}]";
    let yaml = OUTSIDE.to_owned() + &gateway(&server(443, "['*']")) + &routes("['*']", tls);
    let mut world = World::new(&yaml);
    assert_eq!(
        reached(&mut world, 443, Some("a.wild.com")),
        "a.wild.com:443"
    );
    assert_eq!(reached(&mut world, 443, Some("elsewhere.com")), "no socket");
    let cluster = world
        .snapshot
        .pass_through(443, Some("a.wild.com"), &mut world.rng);
    let cluster = cluster.expect("a cluster");
    assert_eq!(cluster.endpoints()[0].target, Target::Requested);
}

#[test]
fn conditions_on_requests_count_against_a_connection() {
    let policy = |action: &str, rule: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: istio-system}}\nspec:\n  selector: {{matchLabels: {{istio: ingressgateway}}}}\n  action: {action}\n  rules: [{rule}]\n"
        )
    };
    let sni = "when: [{key: connection.sni, values: [one.example.com]}]";
    let path = "to: [{operation: {paths: [/a]}}]";
    let ip = "from: [{source: {ipBlocks: [198.51.100.0/24]}}]";
    for (action, rule, is_allowed) in [
        ("ALLOW", format!("{{{sni}}}"), true),
        (
            "ALLOW",
            "{when: [{key: connection.sni, values: [two.example.com]}]}".into(),
            false,
        ),
        ("ALLOW", format!("{{{ip}}}"), true),
        (
            "ALLOW",
            "{from: [{source: {ipBlocks: [203.0.113.0/24]}}]}".into(),
            false,
        ),
        (
            "ALLOW",
            "{to: [{operation: {ports: ['443']}}]}".into(),
            true,
        ),
        ("ALLOW", format!("{{{path}}}"), false),
        (
            "ALLOW",
            "{to: [{operation: {notPaths: [/a]}}]}".into(),
            false,
        ),
        (
            "ALLOW",
            "{from: [{source: {principals: ['*']}}]}".into(),
            false,
        ),
        ("DENY", format!("{{{sni}}}"), false),
        (
            "DENY",
            "{when: [{key: connection.sni, notValues: [one.example.com]}]}".into(),
            true,
        ),
        ("DENY", format!("{{{path}}}"), false),
        ("DENY", format!("{{{path}, {ip}}}"), false),
        (
            "DENY",
            format!("{{{path}, from: [{{source: {{ipBlocks: [203.0.113.0/24]}}}}]}}"),
            true,
        ),
        (
            "DENY",
            "{from: [{source: {requestPrincipals: ['*']}}]}".into(),
            false,
        ),
        ("DENY", "{to: [{operation: {ports: ['80']}}]}".into(), true),
    ] {
        let world = World::new(&policy(action, &rule));
        let policies = world.snapshot.gateway_policies(443, "one.example.com");
        let policies = policies.expect("policies of the gateway");
        let gateway = world.snapshot.gateway_workload();
        let client = "198.51.100.7".parse().ok();
        let decided = decide_connection(policies, gateway, 443, client, Some("one.example.com"));
        assert_eq!(decided.is_ok(), is_allowed, "{action} {rule}: {decided:?}");
    }
}
