//! Sidecars: what a workload sees.

use galleria_manifest::model::Labels;
use galleria_mesh::{Caller, Decision, Options, OutboundPolicy, RequestHead, Workload};
use http::{HeaderMap, Method};

use std::sync::Arc;

use crate::world::{World, istio, services, virtual_service};

/// Three services in two namespaces, and three hosts outside. `x` means that nothing sees
/// a host.
fn world(sidecars: &[(&str, &str, &str)], policy: OutboundPolicy) -> World {
    let entry = |namespace: &str, host: &str| {
        let ports = "[{number: 80, name: http, protocol: HTTP}, {number: 8080, name: other, protocol: HTTP}]";
        let spec = format!("  hosts: ['{host}']\n  resolution: NONE\n  ports: {ports}");
        istio("ServiceEntry", namespace, &host.replace('*', "all"), &spec)
    };
    let to_b = "  hosts: [virtual.shop.example]\n  http: [{route: [{destination: {host: b}}]}]";
    let mut yaml = services(&[("shop", "a"), ("shop", "b"), ("other", "c")])
        + &entry("shop", "api.example.com")
        + &entry("other", "*.wild.example.com")
        + &virtual_service("shop", "virtual", to_b);
    for (namespace, name, spec) in sidecars {
        yaml += &istio("Sidecar", namespace, name, &format!("  {spec}"));
    }
    let options = Options {
        outbound_policy: policy,
        ..Options::default()
    };
    World::with_options(&yaml, options)
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("other", "c", &[("app", "c")], 1)
        .pods("shop", "client", &[("app", "client")], 1)
}

/// The hosts that the workload sees, by their first letters: the services `a`, `b`, `c`,
/// the entry `e`, the wildcard `w` and the virtual host `v`.
fn seen(world: &mut World, namespace: &str, name: &str) -> String {
    let hosts = [
        ("a", "a.shop"),
        ("b", "b.shop.svc.cluster.local"),
        ("c", "c.other"),
        ("e", "api.example.com"),
        ("w", "x.wild.example.com"),
        ("v", "virtual.shop.example"),
    ];
    let mut seen = String::new();
    for (letter, host) in hosts {
        let answer = world.from(namespace, name, &format!("http://{host}/"));
        match answer.send().summary().as_str() {
            "502 -" => {}
            cluster if cluster.starts_with("outbound|") => seen.push_str(letter),
            other => panic!("{host}: {other}"),
        }
    }
    seen
}

#[test]
fn hosts_of_egress_are_all_that_a_workload_sees() {
    for (hosts, expected) in [
        ("['*/*']", "abcewv"),
        ("['./*']", "abev"),
        ("['other/*']", "cw"),
        ("['shop/*']", "abev"),
        ("['~/*']", ""),
        ("['nobody/*']", ""),
        ("['./*', 'other/*']", "abcewv"),
        ("['./a.shop.svc.cluster.local']", "a"),
        ("['*/a.shop.svc.cluster.local']", "a"),
        ("['other/a.shop.svc.cluster.local']", ""),
        ("['*/*.shop.svc.cluster.local']", "ab"),
        ("['*/*.svc.cluster.local']", "abc"),
        ("['./api.example.com']", "e"),
        ("['./API.example.com']", "e"),
        ("['./*.example.com']", "e"),
        ("['*/*.example.com']", "ew"),
        ("['*/*.wild.example.com']", "w"),
        ("['*/x.wild.example.com']", ""),
        ("['./virtual.shop.example']", "v"),
        ("['*/*', '~shop/*']", "cw"),
        ("['*/*', '~./*']", "cw"),
        ("['~/b.shop.svc.cluster.local', './*']", "aev"),
        ("['*/*', '~shop/*.svc.cluster.local']", "cewv"),
        ("['*/*', '~other/api.example.com']", "abcewv"),
        ("['*/*', '~/*']", ""),
        ("['~shop/*']", ""),
    ] {
        let spec = format!("egress: [{{hosts: {hosts}}}]");
        let mut world = world(&[("shop", "default", &spec)], OutboundPolicy::RegistryOnly);
        assert_eq!(seen(&mut world, "shop", "client"), expected, "{hosts}");
        assert_eq!(
            seen(&mut world, "other", "c"),
            "abcewv",
            "{hosts}: other namespaces"
        );
    }
}

#[test]
fn a_virtual_service_for_more_than_a_workload_sees_applies() {
    let rule = "  hosts: ['*.shop.svc.cluster.local']\n  http: [{directResponse: {status: 418}}]";
    let sidecar = "  egress: [{hosts: ['*/a.shop.svc.cluster.local']}]";
    let yaml = services(&[("shop", "a"), ("shop", "b")])
        + &virtual_service("shop", "all", rule)
        + &istio("Sidecar", "shop", "default", sidecar);
    let mut world = World::new(&yaml).pods("shop", "client", &[("app", "client")], 1);
    for (url, expected) in [("http://a.shop/", "418 -"), ("http://b.shop/", "502 -")] {
        let answer = world.from("shop", "client", url).send();
        assert_eq!(answer.summary(), expected, "{url}");
    }
}

#[test]
fn most_specific_sidecar_applies() {
    let of = |host: &str| format!("egress: [{{hosts: ['*/{host}.svc.cluster.local']}}]");
    let (a, b, c) = (of("a.shop"), of("b.shop"), of("c.other"));
    let selecting = format!("workloadSelector: {{labels: {{app: client}}}}\n  {a}");
    let other = format!("workloadSelector: {{labels: {{app: nobody}}}}\n  {a}");
    let root = ("istio-system", "default", c.as_str());
    let own = ("shop", "default", b.as_str());
    for (sidecars, client, of_a, of_c) in [
        (vec![], "abcewv", "abcewv", "abcewv"),
        (vec![root], "c", "c", "c"),
        (vec![root, own], "b", "b", "c"),
        (
            vec![root, own, ("shop", "client", &selecting)],
            "a",
            "b",
            "c",
        ),
        (
            vec![("shop", "client", &selecting)],
            "a",
            "abcewv",
            "abcewv",
        ),
        (
            vec![("shop", "client", &selecting), own],
            "a",
            "b",
            "abcewv",
        ),
        (vec![own, ("shop", "other", &other)], "b", "b", "abcewv"),
        (
            vec![("istio-system", "selecting", selecting.as_str())],
            "abcewv",
            "abcewv",
            "abcewv",
        ),
        (
            vec![(
                "shop",
                "empty",
                "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
            )],
            "abcewv",
            "abcewv",
            "abcewv",
        ),
    ] {
        let mut world = world(&sidecars, OutboundPolicy::RegistryOnly);
        assert_eq!(seen(&mut world, "shop", "client"), client, "{sidecars:?}");
        assert_eq!(seen(&mut world, "shop", "a"), of_a, "{sidecars:?}");
        assert_eq!(seen(&mut world, "other", "c"), of_c, "{sidecars:?}");
    }
}

#[test]
fn own_namespace_of_the_root_sidecar_is_that_of_the_workload() {
    let spec = "egress: [{hosts: ['./*', 'istio-system/*']}]";
    let mut world = world(
        &[("istio-system", "default", spec)],
        OutboundPolicy::RegistryOnly,
    );
    assert_eq!(seen(&mut world, "shop", "client"), "abev");
    assert_eq!(seen(&mut world, "other", "c"), "cw");
    // A Job has no pods in the snapshot.
    let job = Arc::new(Workload::new("shop", "job", "default", Labels::new()));
    let headers = HeaderMap::new();
    let head = RequestHead {
        method: &Method::GET,
        scheme: "http",
        authority: "c.other",
        path: "/",
        query: None,
        headers: &headers,
        source_ip: None,
    };
    let decision = world
        .snapshot
        .route(Caller::Workload(&job), &head, &mut world.rng);
    assert!(matches!(decision, Decision::Reply(_)), "{decision:?}");
}

#[test]
fn entries_with_a_port_are_the_only_ones_for_it() {
    let spec = "egress: [{port: {number: 8080, protocol: HTTP, name: other}, hosts: ['*/api.example.com']}, \
                {hosts: ['*/*.wild.example.com']}]";
    let mut world = world(&[("shop", "default", spec)], OutboundPolicy::RegistryOnly);
    for (url, expected) in [
        (
            "http://api.example.com:8080/",
            "outbound|8080||api.example.com",
        ),
        ("http://api.example.com/", "502 -"),
        (
            "http://x.wild.example.com/",
            "outbound|80||*.wild.example.com",
        ),
        ("http://x.wild.example.com:8080/", "502 -"),
        ("http://a.shop/", "502 -"),
    ] {
        let answer = world.from("shop", "client", url).send();
        assert_eq!(answer.summary(), expected, "{url}");
    }
}

#[test]
fn outbound_policy_is_that_of_the_sidecar() {
    use OutboundPolicy::{AllowAny, RegistryOnly};
    for (mesh, spec, expected) in [
        (RegistryOnly, "egress: [{hosts: ['./*']}]", "502 -"),
        (AllowAny, "egress: [{hosts: ['./*']}]", "PassthroughCluster"),
        (
            RegistryOnly,
            "outboundTrafficPolicy: {mode: ALLOW_ANY}",
            "PassthroughCluster",
        ),
        (
            AllowAny,
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
            "502 -",
        ),
        (AllowAny, "outboundTrafficPolicy: {}", "502 -"),
    ] {
        let mut world = world(&[("shop", "default", spec)], mesh);
        let answer = world
            .from("shop", "client", "http://undeclared.example.net/")
            .send();
        assert_eq!(answer.summary(), expected, "{mesh:?} {spec}");
    }
}

#[test]
fn refusal_names_the_sidecar() {
    let spec = "egress: [{hosts: ['./*']}]";
    let mut world = world(&[("shop", "default", spec)], OutboundPolicy::RegistryOnly);
    let reply = world
        .from("shop", "client", "http://c.other/")
        .send()
        .reply();
    assert_eq!(
        reply.details,
        "the Sidecar shop/default does not contain c.other:80; its namespace and full name in \
         egress.hosts would allow it"
    );
    let reply = world
        .from("shop", "client", "http://nothing.example.net/")
        .send()
        .reply();
    assert!(
        reply.details.starts_with("no Service and no ServiceEntry"),
        "{}",
        reply.details
    );
}
