//! The names and addresses by which workloads call: pods, addresses of Services, ExternalNames,
//! and pods behind ServiceEntries.

use galleria_mesh::Target;

use crate::world::{Answer, World, destination_rule, istio, services, virtual_service};

const HEADLESS: &str = "apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 80}, {name: http-admin, port: 9090}]}
---
";

fn world(yaml: &str) -> World {
    let base = services(&[("shop", "a"), ("other", "c")]);
    World::new(&(base + yaml))
        .pods("shop", "a", &[("app", "a"), ("version", "v1")], 1)
        .pods("shop", "db", &[("app", "db")], 3)
        .pods("other", "c", &[("app", "c"), ("version", "v1")], 1)
        .pods("shop", "client", &[("app", "client")], 1)
        .pods("other", "stranger", &[("app", "stranger")], 1)
}

/// The endpoint that a call reaches, or status and flags.
fn reached(world: &mut World, namespace: &str, host: &str) -> String {
    let name = if namespace == "shop" {
        "client"
    } else {
        "stranger"
    };
    let answer = world
        .from(namespace, name, &format!("http://{host}/"))
        .send();
    match answer {
        Answer::Sent(sent) => match &sent.picked.endpoint.target {
            Target::AnyPort { host } => format!("{host}:*"),
            _ => sent.pod().to_owned(),
        },
        reply @ Answer::Reply(_) => reply.summary(),
    }
}

#[test]
fn pod_of_a_headless_service_has_all_forms_of_its_name() {
    let mut world = world(HEADLESS);
    for (namespace, host, expected) in [
        ("shop", "db-1.db", "shop/db-1"),
        ("shop", "db-1.db:9090", "shop/db-1"),
        ("shop", "db-1.db.shop", "shop/db-1"),
        ("shop", "db-1.db.shop.svc", "shop/db-1"),
        ("shop", "db-1.db.shop.svc.cluster.local", "shop/db-1"),
        ("shop", "DB-1.db.shop.svc.cluster.local.", "shop/db-1"),
        ("shop", "db-2.db.shop.svc.cluster.local:80", "shop/db-2"),
        ("other", "db-1.db.shop", "shop/db-1"),
        ("other", "db-1.db.shop.svc", "shop/db-1"),
        ("other", "db-1.db.shop.svc.cluster.local:9090", "shop/db-1"),
        ("other", "db-1.db", "502 -"),
        ("shop", "db-3.db", "502 -"),
        ("shop", "db-1", "502 -"),
        ("shop", "db-1.a", "502 -"),
        ("shop", "db-1.db:81", "502 -"),
    ] {
        assert_eq!(
            reached(&mut world, namespace, host),
            expected,
            "{namespace} {host}"
        );
    }
}

#[test]
fn virtual_service_of_a_headless_service_applies_to_its_pods() {
    let spec = "  hosts: [db]
  http:
    - match: [{uri: {prefix: /away}}]
      route: [{destination: {host: a}}]
    - match: [{uri: {prefix: /subset}}]
      route: [{destination: {host: db, subset: nothing}}]
    - timeout: 3s
      headers: {request: {set: {x-rule: applied}}}
      route: [{destination: {host: db}}]";
    let subsets = "  host: db\n  subsets: [{name: nothing, labels: {app: other}}]";
    let yaml = HEADLESS.to_owned()
        + &virtual_service("shop", "db", spec)
        + &destination_rule("shop", "db", subsets);
    let mut world = world(&yaml);
    for (host, expected) in [
        ("db-1.db/", "shop/db-1"),
        ("db-2.db.shop.svc.cluster.local:9090/", "shop/db-2"),
        ("db-1.db/away", "shop/a-0"),
        ("db-1.db/subset", "shop/db-1"),
    ] {
        let sent = world
            .from("shop", "client", &format!("http://{host}"))
            .send()
            .sent();
        assert_eq!(sent.pod(), expected, "{host}");
        if host.ends_with(".db/") {
            assert_eq!(sent.header("x-rule"), Some("applied"));
            assert_eq!(sent.forward.timeout.map(|it| it.as_secs()), Some(3));
        }
    }
    // Calls to the service itself are still balanced.
    let mut pods: Vec<String> = (0..50).map(|_| reached(&mut world, "shop", "db")).collect();
    pods.sort();
    pods.dedup();
    assert_eq!(pods, ["shop/db-0", "shop/db-1", "shop/db-2"]);
}

#[test]
fn pods_are_visible_where_their_service_is() {
    let private = HEADLESS.replace(
        "namespace: shop}",
        "namespace: shop, annotations: {networking.istio.io/exportTo: '.'}}",
    );
    let mut hidden = world(&private);
    assert_eq!(reached(&mut hidden, "shop", "db-1.db"), "shop/db-1");
    assert_eq!(reached(&mut hidden, "other", "db-1.db.shop"), "502 -");
    for (hosts, admin, expected) in [
        ("['./*']", "shop/db-1", "shop/db-1"),
        ("['*/db.shop.svc.cluster.local']", "shop/db-1", "shop/db-1"),
        ("['other/*']", "502 -", "502 -"),
    ] {
        let spec = format!("  egress: [{{hosts: {hosts}}}]");
        let mut world = world(&(HEADLESS.to_owned() + &istio("Sidecar", "shop", "default", &spec)));
        assert_eq!(
            reached(&mut world, "shop", "db-1.db:9090"),
            admin,
            "{hosts}"
        );
        assert_eq!(reached(&mut world, "shop", "db-1.db"), expected, "{hosts}");
    }
    let spec = "  egress: [{port: {number: 9090, protocol: HTTP, name: x}, hosts: ['other/*']}, {hosts: ['./*']}]";
    let mut world = world(&(HEADLESS.to_owned() + &istio("Sidecar", "shop", "default", spec)));
    assert_eq!(reached(&mut world, "shop", "db-1.db"), "shop/db-1");
    assert_eq!(reached(&mut world, "shop", "db-1.db:9090"), "502 -");
}

#[test]
fn service_can_be_called_by_its_cluster_address() {
    let service = |name: &str, namespace: &str, app: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{{spec}, selector: {{app: {app}}}, ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let yaml = service("one", "shop", "a", "clusterIP: 10.96.0.10")
        + &service(
            "two",
            "other",
            "c",
            "clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11, 'fd00::11']",
        )
        + &service("three", "shop", "a", "clusterIP: ''")
        + HEADLESS
        + &virtual_service(
            "other",
            "two",
            "  hosts: [two]\n  http: [{match: [{uri: {prefix: /vs}}], route: [{destination: {host: c}}]}, {route: [{destination: {host: two}}]}]",
        );
    let mut world = world(&yaml);
    for (host, expected) in [
        ("10.96.0.10", "outbound|80||one.shop.svc.cluster.local"),
        ("10.96.0.10:80", "outbound|80||one.shop.svc.cluster.local"),
        ("10.96.0.10:81", "502 -"),
        ("10.96.0.11", "outbound|80||two.other.svc.cluster.local"),
        ("10.96.0.11/vs", "outbound|80||c.other.svc.cluster.local"),
        ("[fd00::11]", "outbound|80||two.other.svc.cluster.local"),
        ("[fd00::11]:80", "outbound|80||two.other.svc.cluster.local"),
        ("10.96.0.12", "502 -"),
        ("None", "502 -"),
    ] {
        let answer = world
            .from("shop", "client", &format!("http://{host}"))
            .send();
        assert_eq!(answer.summary(), expected, "{host}");
    }
}

#[test]
fn external_name_can_be_called_on_every_port() {
    let external = |name: &str, target: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{type: ExternalName, externalName: {target}{ports}}}\n---\n"
        )
    };
    let route = |host: &str, port: &str| {
        let spec = format!(
            "  hosts: [{host}]\n  http: [{{route: [{{destination: {{host: outside{port}}}}}]}}]"
        );
        virtual_service("shop", host, &spec)
    };
    let yaml = external("outside", "api.example.com", "")
        + &external(
            "listed",
            "api.example.com",
            ", ports: [{name: http, port: 8080}]",
        )
        + &external(
            "inside",
            "c.other.svc.cluster.local",
            ", ports: [{name: http, port: 8080}]",
        )
        + &external("further", "inside.shop.svc.cluster.local", "")
        + &external("circle", "round.shop.svc.cluster.local", "")
        + &external("round", "circle.shop.svc.cluster.local", "")
        + &route("a", "")
        + &route("a-port", ", port: {number: 8443}")
        + &services(&[("shop", "a-port")]);
    let mut world = world(&yaml);
    for (host, expected) in [
        ("outside", "api.example.com:*"),
        ("outside:443", "api.example.com:*"),
        ("outside:9999", "api.example.com:*"),
        ("listed:8080", "api.example.com:8080"),
        ("listed:9999", "api.example.com:*"),
        ("listed", "api.example.com:*"),
        ("inside", "other/c-0"),
        ("inside:8080", "502 -"),
        ("further", "other/c-0"),
        ("circle", "round.shop.svc.cluster.local:*"),
        ("a", "api.example.com:*"),
        ("a-port", "api.example.com:8443"),
    ] {
        assert_eq!(reached(&mut world, "shop", host), expected, "{host}");
    }
    let sidecar = |hosts: &str| {
        let spec = format!("  egress: [{hosts}]");
        istio("Sidecar", "shop", "default", &spec)
    };
    for (egress, on_80, on_9999) in [
        ("{hosts: ['./*']}", "api.example.com:*", "api.example.com:*"),
        ("{hosts: ['other/*']}", "502 -", "502 -"),
        (
            "{port: {number: 9999, name: x, protocol: HTTP}, hosts: ['./*']}, {hosts: ['other/*']}",
            "502 -",
            "api.example.com:*",
        ),
    ] {
        world.apply(&(yaml.clone() + &sidecar(egress)));
        assert_eq!(reached(&mut world, "shop", "outside"), on_80, "{egress}");
        assert_eq!(
            reached(&mut world, "shop", "outside:9999"),
            on_9999,
            "{egress}"
        );
    }
}

#[test]
fn service_entry_selects_pods_of_its_namespace() {
    let entry = |host: &str, selector: &str, rest: &str| {
        let spec = format!(
            "  hosts: [{host}]\n  location: MESH_INTERNAL\n  workloadSelector: {{labels: {selector}}}\n  {rest}"
        );
        let name = host.replace('.', "-");
        istio("ServiceEntry", "shop", &name, &spec)
    };
    let ports = "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]";
    let yaml = entry(
        "static.example",
        "{app: a}",
        &format!("resolution: STATIC\n  {ports}"),
    ) + &entry(
        "dns.example",
        "{version: v1}",
        &format!("resolution: DNS\n  {ports}"),
    ) + &entry(
        "nobody.example",
        "{app: c}",
        &format!("resolution: STATIC\n  {ports}"),
    ) + &entry(
        "empty.example",
        "{}",
        &format!("resolution: STATIC\n  {ports}"),
    ) + &destination_rule(
        "shop",
        "static",
        "  host: static.example\n  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]",
    ) + &virtual_service(
        "shop",
        "static",
        "  hosts: [static.example]\n  http: [{match: [{uri: {prefix: /v2}}], route: [{destination: {host: static.example, subset: v2}}]}, {route: [{destination: {host: static.example, subset: v1}}]}]",
    );
    let mut world = world(&yaml);
    for (host, expected) in [
        ("static.example", "shop/a-0"),
        ("static.example/v2?", "503 UH"),
        ("dns.example", "shop/a-0"),
        // Its pods are in another namespace.
        ("nobody.example", "503 UH"),
        ("empty.example", "503 UH"),
    ] {
        assert_eq!(reached(&mut world, "shop", host), expected, "{host}");
    }
    let sent = world
        .from("shop", "client", "http://static.example/")
        .send()
        .sent();
    assert_eq!(sent.endpoint().pod_port, Some(8080));
}
