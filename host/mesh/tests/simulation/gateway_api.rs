//! The Gateway API.

use http::Method;

use crate::world::{Answer, Call, World, services};

fn world(yaml: &str) -> World {
    let base = services(&[("shop", "a"), ("shop", "b"), ("shop", "c"), ("other", "d")]);
    World::new(&(base + yaml))
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "b", &[("app", "b")], 1)
        .pods("shop", "c", &[("app", "c")], 1)
        .pods("other", "d", &[("app", "d")], 1)
}

/// A Gateway `gw` in the namespace `shop` with these listeners.
fn gateway(listeners: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw, namespace: shop}}
spec:
  gatewayClassName: galleria
  listeners: [{listeners}]
"
    )
}

const HTTP: &str = "{name: http, port: 80, protocol: HTTP}";

/// An HTTPRoute in `namespace`; `spec` is indented by two.
fn route(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{spec}
"
    )
}

/// An HTTPRoute of the Gateway with these rules.
fn rules(name: &str, rules: &str) -> String {
    let spec = format!("  parentRefs: [{{name: gw}}]\n  rules:\n{rules}");
    route("shop", name, &spec)
}

fn to(service: &str) -> String {
    format!("backendRefs: [{{name: {service}, port: 80}}]")
}

/// The service that gets the request, or the status and flags of the mesh's own reply.
fn answer(call: Call<'_>) -> String {
    match call.send() {
        Answer::Sent(sent) => sent.forward.cluster.service_name.clone(),
        reply @ Answer::Reply(_) => reply.summary(),
    }
}

fn edge(world: &mut World, url: &str) -> String {
    answer(world.edge(url))
}

#[test]
fn paths_match_by_element_and_the_most_specific_rule_wins() {
    let early = rules(
        "early",
        &format!(
            "    - {{matches: [{{path: {{value: /}}}}], {}}}
    - {{matches: [{{path: {{type: PathPrefix, value: /ui}}}}], {}}}",
            to("a"),
            to("b")
        ),
    );
    let late = rules(
        "late",
        &format!(
            "    - {{matches: [{{path: {{type: Exact, value: /ui/exact}}}}, {{path: {{value: /ui/long/}}}}], {}}}",
            to("c")
        ),
    );
    let mut world = world(&(gateway(HTTP) + &early + &late));
    for (url, service) in [
        ("http://x/", "a"),
        ("http://x/uix", "a"),
        ("http://x/ui", "b"),
        ("http://x/ui/", "b"),
        ("http://x/ui/exact", "c"),
        ("http://x/ui/exact/more", "b"),
        ("http://x/ui/long", "c"),
        ("http://x/ui/longer", "b"),
    ] {
        assert_eq!(edge(&mut world, url), service, "{url}");
    }
}

#[test]
fn methods_headers_and_parameters_narrow_a_match_and_decide_between_equal_paths() {
    let yaml = rules(
        "all",
        &format!(
            "    - {{{}}}
    - {{matches: [{{queryParams: [{{name: v, value: '2'}}]}}], {}}}
    - {{matches: [{{headers: [{{name: X-Beta, value: 'yes'}}, {{name: x-beta, value: ignored}}]}}], {}}}
    - {{matches: [{{method: POST}}], {}}}",
            to("a"),
            to("b"),
            to("c"),
            "backendRefs: [{name: d, namespace: other, port: 80}]"
        ),
    ) + &grant("shop");
    let mut world = world(&(gateway(HTTP) + &yaml));
    assert_eq!(edge(&mut world, "http://x/"), "a");
    assert_eq!(edge(&mut world, "http://x/?v=2"), "b");
    assert_eq!(edge(&mut world, "http://x/?v=3"), "a");
    let beta = |world: &mut World, url: &str| answer(world.edge(url).header("x-beta", "yes"));
    assert_eq!(beta(&mut world, "http://x/"), "c");
    assert_eq!(
        beta(&mut world, "http://x/?v=2"),
        "c",
        "headers before parameters"
    );
    let post = world.edge("http://x/?v=2").method(Method::POST);
    assert_eq!(
        answer(post.header("x-beta", "yes")),
        "d",
        "methods before headers"
    );
}

/// A ReferenceGrant that lets HTTPRoutes of `namespace` use the Services of `other`.
fn grant(namespace: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: grant, namespace: other}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {namespace}}}]
  to: [{{group: '', kind: Service}}]
"
    )
}

#[test]
fn missing_and_ungranted_backends_reply_500_for_their_share() {
    let cases = [
        ("backendRefs: [{name: nobody, port: 80}]", "500 NC"),
        ("backendRefs: [{name: a, port: 81}]", "500 NC"),
        ("backendRefs: [{name: a, port: 80, weight: 0}]", "500 -"),
        ("filters: []", "500 -"),
        (
            "backendRefs: [{kind: Bucket, group: example.com, name: a}]",
            "500 NC",
        ),
        (
            "backendRefs: [{name: d, namespace: other, port: 80}]",
            "500 NC",
        ),
    ];
    for (rule, expected) in cases {
        let mut world = world(&(gateway(HTTP) + &rules("r", &format!("    - {{{rule}}}"))));
        let found = edge(&mut world, "http://x/");
        assert!(found.starts_with(expected), "{rule}: {found}");
    }
    let granted = rules(
        "r",
        "    - {backendRefs: [{name: d, namespace: other, port: 80}]}",
    );
    let mut allowed = world(&(gateway(HTTP) + &granted + &grant("shop")));
    assert_eq!(edge(&mut allowed, "http://x/"), "d");
    let mut others = world(&(gateway(HTTP) + &granted + &grant("elsewhere")));
    assert!(edge(&mut others, "http://x/").starts_with("500"));
    let half =
        "    - backendRefs: [{name: a, port: 80, weight: 1}, {name: nobody, port: 80, weight: 1}]";
    let mut world = world(&(gateway(HTTP) + &rules("r", half)));
    let answers: Vec<_> = (0..1_000).map(|_| edge(&mut world, "http://x/")).collect();
    let good = answers.iter().filter(|answer| *answer == "a").count();
    // Four standard deviations of a thousand tries at a half are 63.
    assert!((437..=563).contains(&good), "{good}");
    assert!(
        answers
            .iter()
            .all(|answer| answer == "a" || answer.starts_with("500"))
    );
}

#[test]
fn a_route_serves_the_hosts_that_it_shares_with_the_listener() {
    let listeners = "{name: shop, port: 80, protocol: HTTP, hostname: '*.shop.example'},
        {name: admin, port: 80, protocol: HTTP, hostname: admin.example}";
    let hosted = |name: &str, hosts: &str, section: &str, service: &str| {
        let spec = format!(
            "  parentRefs: [{{name: gw{section}}}]\n  hostnames: {hosts}\n  rules: [{{{}}}]",
            to(service)
        );
        route("shop", name, &spec)
    };
    let yaml = gateway(listeners)
        + &hosted("any", "[]", ", sectionName: shop", "a")
        + &hosted("one", "[eu.shop.example, eu.elsewhere.example]", "", "b")
        + &hosted("admin", "[admin.example]", ", sectionName: admin", "c");
    let mut world = world(&yaml);
    assert_eq!(edge(&mut world, "http://us.shop.example/"), "a");
    assert_eq!(edge(&mut world, "http://eu.shop.example/"), "b");
    assert_eq!(edge(&mut world, "http://admin.example/"), "c");
    for nobody in ["http://shop.example/", "http://eu.elsewhere.example/"] {
        assert!(edge(&mut world, nobody).starts_with("404 NR"), "{nobody}");
    }
}

#[test]
fn listeners_accept_routes_of_allowed_namespaces() {
    let foreign = route(
        "other",
        "foreign",
        "  parentRefs: [{name: gw, namespace: shop}]\n  rules: [{backendRefs: [{name: d, port: 80}]}]",
    );
    let namespace = "---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {routes: allowed}}
";
    let allowed = |choice: &str| {
        format!("{{name: http, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {choice}}}}}")
    };
    for (choice, expected) in [
        ("{from: Same}", "404"),
        ("{from: All}", "d"),
        (
            "{from: Selector, selector: {matchLabels: {routes: allowed}}}",
            "d",
        ),
        (
            "{from: Selector, selector: {matchLabels: {routes: none}}}",
            "404",
        ),
        (
            "{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}}",
            "d",
        ),
    ] {
        let mut world = world(&(gateway(&allowed(choice)) + namespace + &foreign));
        let found = edge(&mut world, "http://x/");
        assert!(found.starts_with(expected), "{choice}: {found}");
    }
}

#[test]
fn filters_change_headers_paths_and_hosts() {
    let yaml = rules(
        "filters",
        &format!(
            "    - matches: [{{path: {{value: /store}}}}]
      filters:
        - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: X-Set, value: rule}}], remove: [x-gone]}}}}
        - {{type: URLRewrite, urlRewrite: {{hostname: inside.example, path: {{type: ReplacePrefixMatch, replacePrefixMatch: /}}}}}}
      {a}
    - matches: [{{path: {{value: /full}}}}]
      filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplaceFullPath, replaceFullPath: /one}}}}}}]
      {a}
    - filters: [{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: /all}}}}}}]
      {a}",
            a = to("a")
        ),
    );
    let mut world = world(&(gateway(HTTP) + &yaml));
    let sent = world
        .edge("http://x/store/cart")
        .header("x-gone", "1")
        .send()
        .sent();
    assert_eq!(sent.path(), "/cart");
    assert_eq!(sent.header("x-set"), Some("rule"));
    assert_eq!(sent.header("x-gone"), None);
    for (url, path) in [
        ("http://x/store", "/"),
        ("http://x/full/of/it", "/one"),
        ("http://x/else", "/all/else"),
        ("http://x/", "/all/"),
    ] {
        assert_eq!(world.edge(url).send().sent().path(), path, "{url}");
    }
}

#[test]
fn redirects_replace_prefixes_and_schemes() {
    let redirect = |settings: &str| {
        let filter = format!("{{type: RequestRedirect, requestRedirect: {settings}}}");
        rules(
            "r",
            &format!("    - {{matches: [{{path: {{value: /old}}}}], filters: [{filter}]}}"),
        )
    };
    let listeners = format!("{HTTP}, {{name: other, port: 8080, protocol: HTTP}}");
    for (settings, url, status, location) in [
        (
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}",
            "http://x",
            302,
            "http://x/new/a?b=c",
        ),
        (
            "{path: {type: ReplaceFullPath, replaceFullPath: /}, statusCode: 301}",
            "http://x",
            301,
            "http://x/?b=c",
        ),
        (
            "{scheme: https, hostname: shop.example}",
            "http://x",
            302,
            "https://shop.example/old/a?b=c",
        ),
        (
            "{port: 8443, scheme: https}",
            "http://x",
            302,
            "https://x:8443/old/a?b=c",
        ),
        // Without a port, the port of the scheme, or that of the listener.
        (
            "{hostname: shop.example}",
            "http://x:8080",
            302,
            "http://shop.example:8080/old/a?b=c",
        ),
        (
            "{hostname: shop.example, scheme: https}",
            "http://x:8080",
            302,
            "https://shop.example/old/a?b=c",
        ),
        (
            "{hostname: shop.example, port: 80}",
            "http://x:8080",
            302,
            "http://shop.example/old/a?b=c",
        ),
    ] {
        let mut world = world(&(gateway(&listeners) + &redirect(settings)));
        let reply = world.edge(&format!("{url}/old/a?b=c")).send().reply();
        assert_eq!(reply.status, status, "{settings}");
        let found = reply.headers.iter().find(|(name, _)| name == "location");
        assert_eq!(found.expect("a location").1, location, "{settings}");
    }
}

#[test]
fn routes_of_services_apply_to_all_callers_or_to_those_of_one_namespace() {
    let of_service = |namespace: &str, name: &str, to: &str| {
        let spec = format!(
            "  parentRefs: [{{group: '', kind: Service, name: a, namespace: shop, port: 80}}]
  rules: [{{matches: [{{path: {{value: /moved}}}}], backendRefs: [{{name: {to}, port: 80}}]}}]"
        );
        route(namespace, name, &spec)
    };
    let mut producer = world(&of_service("shop", "producer", "b"));
    let mut call = |from: &str, url: &str| answer(producer.from(from, "caller", url));
    assert_eq!(call("other", "http://a.shop/moved/x"), "b");
    assert_eq!(call("shop", "http://a/moved/x"), "b");
    assert!(call("shop", "http://a/else").starts_with("404"));
    assert_eq!(call("shop", "http://b/else"), "b");

    let yaml = of_service("shop", "producer", "b") + &of_service("other", "consumer", "d");
    let mut both = world(&yaml);
    let mut call = |from: &str, url: &str| answer(both.from(from, "caller", url));
    assert_eq!(call("other", "http://a.shop/moved"), "d");
    assert_eq!(call("shop", "http://a/moved"), "b");
}

#[test]
fn timeouts_and_retries_come_from_the_rule() {
    let yaml = rules(
        "slow",
        &format!(
            "    - {{timeouts: {{request: 3s, backendRequest: 1s}}, retry: {{codes: [503], attempts: 1}}, {}}}",
            to("a")
        ),
    );
    let mut world = world(&(gateway(HTTP) + &yaml));
    let sent = world.edge("http://x/").send().sent();
    let seconds = std::time::Duration::from_secs;
    assert_eq!(sent.forward.timeout, Some(seconds(3)));
    assert_eq!(sent.forward.per_try_timeout, Some(seconds(1)));
    let mut rng = rand::rng();
    let failed = galleria_mesh::Outcome::response(http::StatusCode::SERVICE_UNAVAILABLE);
    let policy = sent.forward.retry_policy();
    let mut decide = |tries| policy.decide(tries, &Method::GET, &failed, &mut rng);
    assert!(matches!(decide(1), galleria_mesh::RetryDecision::Retry(_)));
    assert!(!matches!(decide(2), galleria_mesh::RetryDecision::Retry(_)));
}

#[test]
fn mirrors_and_weights_come_from_the_backends() {
    let yaml = rules(
        "split",
        "    - backendRefs: [{name: a, port: 80, weight: 3}, {name: b, port: 80, weight: 1}]
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: c, port: 80}, fraction: {numerator: 1, denominator: 2}}}]",
    );
    let mut world = world(&(gateway(HTTP) + &yaml));
    let answers: Vec<_> = (0..2_000).map(|_| edge(&mut world, "http://x/")).collect();
    let first = answers.iter().filter(|answer| *answer == "a").count();
    // Four standard deviations of 2,000 tries at 0.75 are 78.
    assert!((1_422..=1_578).contains(&first), "{first}");
    let foreign = rules(
        "foreign",
        "    - backendRefs: [{name: a, port: 80}]
      filters: [{type: RequestMirror, requestMirror: {backendRef: {name: d, namespace: other, port: 80}}}]",
    );
    let copies = |yaml: &str| {
        let mut world = self::world(&(gateway(HTTP) + &foreign + yaml));
        let sent = world.edge("http://x/").send().sent();
        sent.forward.mirrors(&mut rand::rng()).count()
    };
    assert_eq!(copies(""), 0, "no grant, no copy");
    assert_eq!(copies(&grant("shop")), 1);
    let sent = world.edge("http://x/").send().sent();
    let mut mirrored = 0;
    for _ in 0..1_000 {
        mirrored += sent.forward.mirrors(&mut rand::rng()).count();
    }
    assert!((437..=563).contains(&mirrored), "{mirrored}");
}

#[test]
fn listener_uses_a_certificate_of_another_namespace_only_if_that_grants_it() {
    let grant = |kind: &str, from: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: grant, namespace: other}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {from}}}]
  to: [{{group: \"\", kind: Secret, name: s}}]
"
        )
    };
    let listener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s, namespace: other}]}}";
    for (grant, certificates) in [
        (String::new(), 0),
        (grant("HTTPRoute", "shop"), 0),
        (grant("Gateway", "elsewhere"), 0),
        (grant("Gateway", "shop"), 1),
    ] {
        let world = world(&(gateway(listener) + &grant));
        let tls = world.snapshot.listeners()[0].servers[0].tls.as_ref();
        let tls = tls.expect("TLS");
        assert_eq!(tls.path, "spec.listeners[0].tls");
        assert_eq!(tls.settings.certificates.len(), certificates, "{grant}");
    }
}

#[test]
fn listener_with_an_unenforced_restriction_is_marked() {
    let listeners = "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}, hostname: a.example},
      {name: b, port: 443, protocol: HTTPS, hostname: b.example, tls: {certificateRefs: [{name: s}], frontendValidation: {}}}";
    let world = world(&gateway(listeners));
    let servers = world.snapshot.listeners()[0].servers.iter();
    let marked: Vec<_> = servers
        .map(|server| {
            server
                .tls
                .as_ref()
                .is_some_and(|it| it.unenforced.is_some())
        })
        .collect();
    assert_eq!(marked, [false, true]);
}
