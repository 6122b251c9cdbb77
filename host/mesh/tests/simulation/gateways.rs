//! Gateways and Ingresses.

use galleria_manifest::model::Protocol;

use crate::world::{World, gateway, istio, services, virtual_service};

fn world(yaml: &str) -> World {
    let base = services(&[("shop", "a"), ("shop", "b"), ("shop", "c")]);
    World::new(&(base + yaml))
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("shop", "c", &[("app", "c")], 1)
}

fn servers(servers: &str) -> String {
    istio(
        "Gateway",
        "shop",
        "gw",
        &format!("  selector: {{istio: ingressgateway}}\n  servers:\n{servers}"),
    )
}

fn route(name: &str, hosts: &str, to: &str) -> String {
    let spec = format!(
        "  hosts: {hosts}\n  gateways: [shop/gw]\n  http: [{{route: [{{destination: {{host: {to}}}}}]}}]"
    );
    virtual_service("shop", name, &spec)
}

fn service(world: &mut World, url: &str) -> String {
    let answer = world.edge(url).send();
    match answer {
        crate::world::Answer::Sent(sent) => sent.forward.cluster.service_name.clone(),
        reply => reply.summary(),
    }
}

#[test]
fn each_declared_port_is_one_listener_with_all_its_servers() {
    let yaml = servers(
        "    - {port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}
    - {port: {number: 9080, name: http-2, protocol: HTTP}, hosts: ['*']}",
    ) + &gateway("other", "second");
    let world = world(&yaml);
    let listeners: Vec<(u16, Protocol, Vec<String>)> = world
        .snapshot
        .listeners()
        .iter()
        .map(|listener| (listener.port, listener.protocol, listener.gateways.clone()))
        .collect();
    assert_eq!(
        listeners,
        [
            (
                80,
                Protocol::Http,
                vec!["shop/gw".into(), "other/second".into()]
            ),
            (9080, Protocol::Http, vec!["shop/gw".into()]),
        ]
    );
}

#[test]
fn a_virtual_service_is_served_for_the_hosts_that_the_server_includes() {
    let yaml = servers(
        "    - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.shop.example']}",
    ) + &route("wide", "['*']", "a")
        + &route("exact", "[b.shop.example]", "b")
        + &route("outside", "[other.example]", "c");
    let mut world = world(&yaml);
    assert_eq!(service(&mut world, "http://x.shop.example/"), "a");
    assert_eq!(service(&mut world, "http://b.shop.example/"), "b");
    assert_eq!(service(&mut world, "http://B.SHOP.example:80/"), "b");
    assert_eq!(service(&mut world, "http://other.example/"), "404 NR");
}

#[test]
fn a_server_host_with_a_namespace_accepts_virtual_services_of_that_namespace() {
    for (host, expected) in [
        ("shop/*", "a"),
        ("./*", "a"),
        ("*/*", "a"),
        ("elsewhere/*", "404 NR"),
    ] {
        let server = format!(
            "    - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['{host}']}}"
        );
        let mut world = world(&(servers(&server) + &route("vs", "['*']", "a")));
        assert_eq!(service(&mut world, "http://x.example/"), expected, "{host}");
    }
}

#[test]
fn rules_of_several_virtual_services_are_concatenated_with_catch_alls_last() {
    let first = route("first", "[x.example]", "a");
    let second = virtual_service(
        "shop",
        "second",
        "  hosts: [x.example]
  gateways: [gw]
  http: [{match: [{uri: {prefix: /b}}], route: [{destination: {host: b}}]}]",
    );
    let mut world = world(&(gateway("shop", "gw") + &first + &second));
    assert_eq!(service(&mut world, "http://x.example/b"), "b");
    assert_eq!(service(&mut world, "http://x.example/other"), "a");
}

#[test]
fn https_redirect_answers_301_for_every_host_of_the_server() {
    let yaml = servers(
        "    - port: {number: 80, name: http, protocol: HTTP}
      hosts: [in.shop.example, us.shop.example]
      tls: {httpsRedirect: true}",
    ) + &route("vs", "[in.shop.example]", "a");
    let mut world = world(&yaml);
    for host in ["in.shop.example", "us.shop.example"] {
        let reply = world.edge(&format!("http://{host}/ui?a=1")).send().reply();
        let location = &reply
            .headers
            .iter()
            .find(|(name, _)| name == "location")
            .expect("one")
            .1;
        assert_eq!(reply.status, 301);
        assert_eq!(location, &format!("https://{host}/ui?a=1"));
    }
    assert_eq!(service(&mut world, "http://other.example/"), "404 NR");
    assert!(world.snapshot.listeners()[0].https_redirect);
}

#[test]
fn an_https_redirect_names_the_port_of_clients_if_it_is_not_443() {
    let yaml = servers(
        "    - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}",
    );
    let options = galleria_mesh::Options {
        https_redirect_port: Some(8443),
        ..Default::default()
    };
    let reply = World::with_options(&yaml, options)
        .edge("http://localhost/x")
        .send()
        .reply();
    assert_eq!(reply.headers[0].1, "https://localhost:8443/x");
}

#[test]
fn servers_of_several_gateways_on_one_port_are_merged() {
    let one = servers("    - {port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}");
    let two = istio(
        "Gateway",
        "shop",
        "second",
        "  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [b.example]}]",
    );
    let both = virtual_service(
        "shop",
        "vs",
        "  hosts: ['*']
  gateways: [gw, second]
  http:
    - match: [{gateways: [second]}]
      route: [{destination: {host: b}}]
    - route: [{destination: {host: a}}]",
    );
    let mut world = world(&(one + &two + &both));
    assert_eq!(service(&mut world, "http://a.example/"), "a");
    assert_eq!(service(&mut world, "http://b.example/"), "b");
}

#[test]
fn a_match_on_port_compares_the_port_of_the_listener() {
    let yaml = servers(
        "    - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
    - {port: {number: 8080, name: http-2, protocol: HTTP}, hosts: ['*']}",
    ) + &virtual_service(
        "shop",
        "vs",
        "  hosts: ['*']
  gateways: [gw]
  http:
    - match: [{port: 8080}]
      route: [{destination: {host: b}}]
    - route: [{destination: {host: a}}]",
    );
    let mut world = world(&yaml);
    assert_eq!(service(&mut world, "http://x/"), "a");
    assert_eq!(service(&mut world, "http://x:8080/"), "b");
}

fn ingress(api_version: &str, spec: &str) -> String {
    format!(
        "apiVersion: {api_version}\nkind: Ingress\nmetadata: {{name: in, namespace: shop}}\nspec:\n{spec}\n---\n"
    )
}

const PATHS: &str = "  rules:
    - http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}
          - {path: /b, pathType: Prefix, backend: {service: {name: b, port: {name: http}}}}
          - {path: /b/exact, pathType: Exact, backend: {service: {name: c, port: {number: 80}}}}";

#[test]
fn an_ingress_matches_an_exact_path_then_the_longest_prefix_by_element() {
    let mut world = world(&ingress("networking.k8s.io/v1", PATHS));
    for (path, expected) in [
        ("/", "a"),
        ("/bc", "a"),
        ("/b", "b"),
        ("/b/", "b"),
        ("/b/x", "b"),
        ("/b/exact", "c"),
        ("/b/exact/", "b"),
    ] {
        assert_eq!(
            service(&mut world, &format!("http://any.example{path}")),
            expected,
            "{path}"
        );
    }
    assert_eq!(world.snapshot.listeners()[0].port, 80);
}

#[test]
fn an_old_ingress_path_with_a_star_is_a_prefix() {
    for path in ["/ui", "/ui/", "/ui/*"] {
        let spec = format!(
            "  rules: [{{http: {{paths: [{{path: '{path}', backend: {{serviceName: a, servicePort: 80}}}}]}}}}]"
        );
        let mut world = world(&ingress("extensions/v1beta1", &spec));
        assert_eq!(service(&mut world, "http://x/ui"), "a", "{path}");
        assert_eq!(service(&mut world, "http://x/ui/page"), "a", "{path}");
        assert_eq!(service(&mut world, "http://x/uix"), "404 NR", "{path}");
    }
}

#[test]
fn an_ingress_matches_an_exact_host_then_a_one_label_wildcard_then_no_host() {
    let rule = |host: &str, service: &str| {
        format!(
            "    - {{{host}http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: \
             {{name: {service}, port: {{number: 80}}}}}}}}]}}}}\n"
        )
    };
    let spec = format!(
        "  rules:\n{}{}{}",
        rule("host: x.example, ", "a"),
        rule("host: '*.example', ", "b"),
        rule("", "c")
    );
    let mut world = world(&ingress("networking.k8s.io/v1", &spec));
    assert_eq!(service(&mut world, "http://x.example/"), "a");
    assert_eq!(service(&mut world, "http://y.example/"), "b");
    assert_eq!(service(&mut world, "http://y.z.example/"), "c");
    assert_eq!(service(&mut world, "http://example/"), "c");
}

#[test]
fn the_default_backend_serves_requests_that_no_path_matches() {
    let spec = "  defaultBackend: {service: {name: c, port: {number: 80}}}
  rules:
    - host: x.example
      http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}";
    let mut world = world(&ingress("networking.k8s.io/v1", spec));
    assert_eq!(service(&mut world, "http://x.example/a"), "a");
    assert_eq!(service(&mut world, "http://x.example/other"), "c");
    assert_eq!(service(&mut world, "http://y.example/"), "c");
}

#[test]
fn rewrite_target_replaces_the_path_and_can_use_groups() {
    let yaml = ingress(
        "networking.k8s.io/v1",
        "  rules:
    - http:
        paths:
          - path: /api(/|$)(.*)
            pathType: ImplementationSpecific
            backend: {service: {name: a, port: {number: 80}}}",
    )
    .replace(
        "namespace: shop}",
        "namespace: shop, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$2}}",
    );
    let mut world = world(&yaml);
    assert_eq!(
        world.edge("http://x/api/v1/items?q=1").send().sent().path(),
        "/v1/items?q=1"
    );
    assert_eq!(world.edge("http://x/api").send().sent().path(), "/");
    assert_eq!(service(&mut world, "http://x/apis"), "404 NR");
}

#[test]
fn an_ingress_with_tls_also_listens_on_443() {
    let yaml = ingress(
        "networking.k8s.io/v1",
        &format!("  tls: [{{hosts: [x.example], secretName: s}}]\n{PATHS}"),
    );
    let mut world = world(&yaml);
    let ports: Vec<u16> = world
        .snapshot
        .listeners()
        .iter()
        .map(|it| it.port)
        .collect();
    assert_eq!(ports, [80, 443]);
    assert_eq!(service(&mut world, "https://x.example/b"), "b");
}

#[test]
fn a_backend_that_does_not_exist_is_503_nc() {
    let spec = "  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}]}}]";
    assert_eq!(
        service(
            &mut world(&ingress("networking.k8s.io/v1", spec)),
            "http://x/"
        ),
        "503 NC"
    );
}

/// The port, and for each of its servers the hosts and the place of its TLS settings.
fn secure_servers(world: &World) -> Vec<String> {
    let listeners = world.snapshot.listeners().iter();
    let lines = listeners.flat_map(|listener| {
        listener.servers.iter().map(|server| {
            let tls = server.tls.as_ref().map_or("-", |tls| tls.path.as_str());
            format!("{} {} {tls}", listener.port, server.hosts.join(","))
        })
    });
    lines.collect()
}

#[test]
fn first_server_of_a_port_decides_its_protocol() {
    for (first, second, served) in [
        (
            "{number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: s}",
            "{number: 443, name: http, protocol: HTTP}, hosts: [b.example]",
            "443 a.example spec.servers[0].tls",
        ),
        (
            "{number: 443, name: http, protocol: HTTP}, hosts: [a.example]",
            "{number: 443, name: https, protocol: HTTPS}, hosts: [b.example], tls: {mode: MUTUAL, credentialName: s}",
            "443 a.example -",
        ),
    ] {
        let yaml = servers(&format!(
            "    - {{port: {first}}}\n    - {{port: {second}}}"
        )) + &route("a", "[a.example]", "a")
            + &route("b", "[b.example]", "b");
        let mut world = world(&yaml);
        assert_eq!(secure_servers(&world), [served]);
        let told = world.diagnostics.iter();
        let told: Vec<_> = told.filter(|it| it.contains("IST0145")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("already has the protocol"), "{told:?}");
        assert_eq!(service(&mut world, "http://a.example:443/"), "a");
        let lost = "its TLS settings would be lost";
        assert_eq!(
            service(&mut world, "http://b.example:443/"),
            "404 NR",
            "{lost}"
        );
    }
}

#[test]
fn host_of_a_secure_port_belongs_to_the_first_server_that_names_it() {
    let yaml = servers(
        "    - {port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.example], tls: {mode: MUTUAL, credentialName: s}}",
    ) + &istio(
        "Gateway",
        "shop",
        "later",
        "  servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [b.example, a.example], tls: {mode: SIMPLE, credentialName: s}}]",
    );
    let world = world(&yaml);
    assert_eq!(
        secure_servers(&world),
        ["443 a.example spec.servers[0].tls"]
    );
}

#[test]
fn certificates_of_ingresses_belong_to_their_hosts_on_443() {
    let tls = "  tls: [{hosts: [X.example, y.example], secretName: s}, {secretName: t}]\n";
    let world = world(&ingress("networking.k8s.io/v1", &format!("{tls}{PATHS}")));
    assert_eq!(
        secure_servers(&world),
        [
            "80 * -",
            "443 x.example,y.example spec.tls[0]",
            "443 * spec.tls[1]"
        ]
    );
    let listener = &world.snapshot.listeners()[1];
    let tls = listener.servers[1].tls.as_ref().expect("TLS");
    assert_eq!(tls.settings.secret_name(), Some("t"));
    assert_eq!(tls.namespace, "shop");
}

fn exposed(name: &str, kind: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{type: {kind}, selector: {{app: a}}, ports: [{{name: http, targetPort: 8080, {port}}}]}}\n---\n"
    )
}

#[test]
fn ports_of_services_are_those_that_nothing_else_has() {
    let yaml = gateway("shop", "gw")
        + &exposed("first", "NodePort", "port: 81, nodePort: 30081")
        + &exposed("second", "LoadBalancer", "port: 80, nodePort: 30081")
        + &exposed("third", "LoadBalancer", "port: 9090")
        + &exposed("inside", "ClusterIP", "port: 9091")
        // No rule of the mesh is for clients that are not in it.
        + &virtual_service(
            "shop",
            "vs",
            "  hosts: [first, third]\n  http: [{directResponse: {status: 418}}]",
        );
    let mut world = world(&yaml);
    let service_port = |port| world.snapshot.is_service_port(port);
    assert!(service_port(30_081) && service_port(9090) && !service_port(80));
    let listeners = world.snapshot.listeners();
    let ports: Vec<u16> = listeners.iter().map(|it| it.port).collect();
    assert_eq!(ports, [80, 30_081, 9090]);
    for (port, owner) in [(80, "shop/gw"), (30_081, "shop/first")] {
        let told = format!("port {port} is not open to clients outside the mesh: {owner} has it");
        let mut diagnostics = world.diagnostics.iter();
        assert!(diagnostics.any(|it| it.contains(&told)), "{told}");
    }
    assert_eq!(service(&mut world, "http://any.example:30081/"), "first");
    assert_eq!(service(&mut world, "http://any.example:9090/"), "third");
}

#[test]
fn a_host_opens_256_ports_of_services() {
    let ports = 30_000..=30_256;
    let ports = ports.map(|port| format!("{{name: p{port}, port: {port}, nodePort: {port}}}"));
    let ports = ports.collect::<Vec<_>>().join(", ");
    let yaml = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: large, namespace: shop}}\n\
         spec: {{type: NodePort, selector: {{app: a}}, ports: [{ports}]}}\n---\n"
    );
    let world = world(&yaml);
    assert_eq!(world.snapshot.listeners().len(), 256);
    let refused = world.diagnostics.iter();
    let refused: Vec<_> = refused.filter(|it| it.contains("GAL0606")).collect();
    let [refused] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert!(refused.contains("port 30256 is not open"), "{refused}");
}
