//! What Istio's analyzers find between objects (`pkg/config/analysis/analyzers` of Istio): each
//! row has objects, a code, and the names of the objects that it is reported for.

use std::path::Path;

use galleria_manifest::{codes, read_str};

use super::render;

/// Objects of the namespace `shop`, unless they name another: kind, name and spec.
type Objects<'a> = &'a [(&'a str, &'a str, &'a str)];

fn check(rows: &[(Objects<'_>, &str, &[&str])]) {
    let mut wrong = String::new();
    for (objects, code, expected) in rows {
        let documents: Vec<String> = objects.iter().map(document).collect();
        let text = documents.join("---\n");
        let loaded = read_str(Path::new("it.yaml"), &text);
        let found = galleria_manifest::check_references(&loaded.objects, None);
        let all = || loaded.diagnostics.iter().chain(&found);
        let mut names: Vec<&str> = all()
            .filter(|diagnostic| diagnostic.code == *code)
            .filter_map(|diagnostic| diagnostic.object.as_deref()?.rsplit('/').next())
            .collect();
        names.dedup();
        if names != *expected {
            let all: Vec<_> = all().cloned().collect();
            wrong += &format!(
                "{text}{code}: {names:?}, not {expected:?}\n{}\n",
                render(&all)
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn document((kind, name, spec): &(&str, &str, &str)) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    let (api, extra) = match *kind {
        "Service" => ("v1", ""),
        "Private" => ("v1", ", annotations: {networking.istio.io/exportTo: .}"),
        "Pod" => ("v1", ", labels: {istio: gw, app: gw}"),
        _ => ("networking.istio.io/v1", ""),
    };
    let kind = if *kind == "Private" { "Service" } else { kind };
    format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{extra}}}\nspec: {spec}\n"
    )
}

const APP: (&str, &str, &str) = (
    "Service",
    "app",
    "{selector: {app: app}, ports: [{name: http, port: 80}]}",
);
const TO_APP: &str = "{hosts: [app], http: [{route: [{destination: {host: app}}]}]}";

#[test]
fn conflicts_across_visibility() {
    let public = "{hosts: [a.test], http: [{route: [{destination: {host: app}}]}]}";
    let own = "{hosts: [a.test], exportTo: ['.'], http: [{route: [{destination: {host: app}}]}]}";
    let shop = "{hosts: [a.test], exportTo: [shop], http: [{route: [{destination: {host: app}}]}]}";
    let other = "{hosts: [b.test], http: [{route: [{destination: {host: app}}]}]}";
    let wild = "{hosts: ['*.test'], http: [{route: [{destination: {host: app}}]}]}";
    let own_wild =
        "{hosts: ['*.test'], exportTo: ['.'], http: [{route: [{destination: {host: app}}]}]}";
    let inner = TO_APP;
    let vs = "VirtualService";
    check(&[
        (
            &[APP, (vs, "a", public), (vs, "b", public)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "a", public), (vs, "b", other)],
            codes::CONFLICTING_HOSTS,
            &[],
        ),
        (
            &[APP, (vs, "a", public), (vs, "far/b", own)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "a", own), (vs, "far/b", own)],
            codes::CONFLICTING_HOSTS,
            &[],
        ),
        // By a wildcard, only of a narrower visibility.
        (
            &[APP, (vs, "a", wild), (vs, "far/b", own)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "far/b", own), (vs, "a", wild)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "a", public), (vs, "far/b", own_wild)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "a", wild), (vs, "b", public)],
            codes::CONFLICTING_HOSTS,
            &[],
        ),
        (
            &[APP, (vs, "a", other), (vs, "far/b", own_wild)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
        (
            &[APP, (vs, "a", inner), (vs, "far/b", own_wild)],
            codes::CONFLICTING_HOSTS,
            &[],
        ),
        (
            &[APP, (vs, "a", own), (vs, "far/b", shop)],
            codes::CONFLICTING_HOSTS,
            &["b"],
        ),
    ]);
}

#[test]
fn destinations_that_are_hidden() {
    let far =
        "{hosts: [a.test], http: [{route: [{destination: {host: app.far.svc.cluster.local}}]}]}";
    let spec = "{selector: {app: app}, ports: [{name: http, port: 80}]}";
    let entry =
        "{hosts: [x.test], exportTo: ['.'], ports: [{number: 80, name: http, protocol: HTTP}]}";
    let to_entry = "{hosts: [a.test], http: [{route: [{destination: {host: x.test}}]}]}";
    let there =
        "{hosts: [a.test], exportTo: [far], http: [{route: [{destination: {host: x.test}}]}]}";
    let vs = "VirtualService";
    check(&[
        (
            &[("Service", "far/app", spec), (vs, "a", far)],
            codes::NOT_FOUND,
            &[],
        ),
        (
            &[("Private", "far/app", spec), (vs, "a", far)],
            codes::NOT_FOUND,
            &["a"],
        ),
        (
            &[("ServiceEntry", "e", entry), (vs, "a", to_entry)],
            codes::NOT_FOUND,
            &[],
        ),
        (
            &[("ServiceEntry", "far/e", entry), (vs, "a", to_entry)],
            codes::NOT_FOUND,
            &["a"],
        ),
        (
            &[("ServiceEntry", "far/e", entry), (vs, "a", there)],
            codes::NOT_FOUND,
            &[],
        ),
    ]);
}

#[test]
fn destinations_of_connections() {
    let two = "{hosts: [x.test], resolution: DNS, ports: [{number: 80, name: a, protocol: TCP}, \
               {number: 81, name: b, protocol: TCP}]}";
    for rule in [
        "gateways: [mesh], tcp: [{route: [{destination: $}]}]",
        "tls: [{match: [{sniHosts: [a.test]}], route: [{destination: $}]}]",
    ] {
        for (to, code, expected) in [
            ("{host: x.test}", codes::PORT_SELECTOR_REQUIRED, &["a"][..]),
            (
                "{host: x.test, port: {number: 81}}",
                codes::PORT_SELECTOR_REQUIRED,
                &[],
            ),
            ("{host: x.test, port: {number: 81}}", codes::NOT_FOUND, &[]),
            (
                "{host: x.test, port: {number: 82}}",
                codes::NOT_FOUND,
                &["a"],
            ),
            ("{host: gone.test}", codes::NOT_FOUND, &["a"]),
        ] {
            let spec = format!("{{hosts: [a.test], {}}}", rule.replace('$', to));
            let objects = [("ServiceEntry", "e", two), ("VirtualService", "a", &*spec)];
            check(&[(&objects, code, expected)]);
        }
    }
}

#[test]
fn a_match_of_several_can_be_without_effect() {
    let spec = "{hosts: [app], http: [{match: [{uri: {prefix: /a}, port: 80}], \
                route: [{destination: {host: app}}]}, {match: [{uri: {prefix: /a}, port: 80}, \
                {uri: {prefix: /b}}], route: [{destination: {host: app}}]}]}";
    check(&[(
        &[APP, ("VirtualService", "a", spec)],
        codes::INEFFECTIVE_MATCH,
        &["a"],
    )]);
}

#[test]
fn rules_that_earlier_ones_cover() {
    let rules = |first: &str, second: &str| {
        let route = "route: [{destination: {host: app}}]";
        format!(
            "{{hosts: [app], http: [{{match: [{first}], {route}}}, {{match: [{second}], {route}}}]}}"
        )
    };
    let rows = [
        (
            "{uri: {prefix: /a}, method: {exact: GET}}",
            "{uri: {prefix: /a/b}, method: {exact: GET}}",
            true,
        ),
        (
            "{uri: {prefix: /a}, method: {exact: GET}}",
            "{uri: {prefix: /a/b}, method: {exact: PUT}}",
            false,
        ),
        (
            "{uri: {prefix: /a}, method: {exact: GET}}",
            "{uri: {prefix: /a/b}}",
            false,
        ),
        (
            "{headers: {x: {}}}",
            "{headers: {x: {exact: a}, y: {exact: b}}}",
            true,
        ),
        (
            "{headers: {x: {prefix: a}}}",
            "{headers: {x: {exact: b}}}",
            false,
        ),
        (
            "{withoutHeaders: {x: {}}}",
            "{withoutHeaders: {x: {}}, uri: {exact: /a}}",
            true,
        ),
        (
            "{port: 80, uri: {prefix: /a}}",
            "{port: 81, uri: {prefix: /a}}",
            false,
        ),
        (
            "{sourceLabels: {a: b}}",
            "{sourceLabels: {a: b, c: d}}",
            true,
        ),
        (
            "{sourceLabels: {a: b, c: d}}",
            "{sourceLabels: {a: b}}",
            false,
        ),
        (
            "{uri: {prefix: /A}, ignoreUriCase: true}",
            "{uri: {prefix: /a/b}}",
            true,
        ),
        (
            "{uri: {prefix: /a}}",
            "{uri: {prefix: /a/b}, ignoreUriCase: true}",
            false,
        ),
    ];
    for (first, second, covered) in rows {
        let spec = rules(first, second);
        let expected: &[&str] = if covered { &["a"] } else { &[] };
        check(&[(
            &[APP, ("VirtualService", "a", &spec)],
            codes::UNREACHABLE_RULE,
            expected,
        )]);
    }
}

#[test]
fn tls_to_servers_that_nothing_identifies() {
    let rule = |tls: &str| format!("{{host: app, trafficPolicy: {{{tls}}}}}");
    let dr = "DestinationRule";
    let simple = rule("tls: {mode: SIMPLE}");
    let known = rule("tls: {mode: SIMPLE, caCertificates: /ca.pem}");
    let mesh = rule("tls: {mode: ISTIO_MUTUAL}");
    let port = rule("portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]");
    check(&[
        (
            &[APP, (dr, "a", &simple)],
            codes::NO_SERVER_VERIFICATION,
            &["a"],
        ),
        (
            &[APP, (dr, "a", &known)],
            codes::NO_SERVER_VERIFICATION,
            &[],
        ),
        (&[APP, (dr, "a", &mesh)], codes::NO_SERVER_VERIFICATION, &[]),
        (&[APP, (dr, "a", &port)], codes::NO_SERVER_VERIFICATION, &[]),
        (
            &[APP, (dr, "a", &port)],
            codes::NO_SERVER_VERIFICATION_OF_PORT,
            &["a"],
        ),
    ]);
}

#[test]
fn service_entries() {
    let entry = |rest: &str| format!("{{hosts: [x.test], {rest}}}");
    let http = entry("ports: [{number: 80, name: a, protocol: HTTP}]");
    let tcp = entry("addresses: [10.0.0.1], ports: [{number: 80, name: a, protocol: TCP}]");
    let bare = entry("ports: [{number: 80, name: a, protocol: TCP}]");
    let none = entry("ports: [{number: 80, name: a}]");
    let private = entry("exportTo: ['.'], ports: [{number: 80, name: a, protocol: TLS}]");
    let se = "ServiceEntry";
    check(&[
        (&[(se, "a", &http)], codes::ADDRESSES_REQUIRED, &[]),
        (&[(se, "a", &tcp)], codes::ADDRESSES_REQUIRED, &[]),
        (&[(se, "a", &bare)], codes::ADDRESSES_REQUIRED, &["a"]),
        (&[(se, "a", &none)], codes::ADDRESSES_REQUIRED, &["a"]),
        (
            &[(se, "a", &http), (se, "b", &tcp)],
            codes::CONFLICTING_PROTOCOLS,
            &["b"],
        ),
        (
            &[(se, "a", &http), (se, "b", &http)],
            codes::CONFLICTING_PROTOCOLS,
            &[],
        ),
        (
            &[(se, "a", &http), (se, "far/b", &private)],
            codes::CONFLICTING_PROTOCOLS,
            &["b"],
        ),
        (
            &[(se, "a", &private), (se, "far/b", &private)],
            codes::CONFLICTING_PROTOCOLS,
            &[],
        ),
    ]);
}

/// A server of the port 443, with a selector and a certificate.
fn secure_gateway(labels: &str, host: &str, secret: &str) -> String {
    format!(
        "{{selector: {{{labels}}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, \
         hosts: [{host}], tls: {{mode: SIMPLE, credentialName: {secret}}}}}]}}"
    )
}

const GATEWAY_POD: (&str, &str, &str) = ("Pod", "p", "{containers: [{name: gw, image: 'gw:v1'}]}");

#[test]
fn hosts_of_one_gateway_workload() {
    let first = secure_gateway("istio: gw", "a.test", "one");
    let same = secure_gateway("istio: gw, app: gw", "a.test", "two");
    let elsewhere = secure_gateway("istio: other", "a.test", "one");
    let here = secure_gateway("istio: ingressgateway", "a.test", "one");
    let named = "istio: ingressgateway, app: istio-ingressgateway";
    let named = secure_gateway(named, "a.test", "two");
    let nowhere = secure_gateway("istio: ingressgateway, app: other", "a.test", "two");
    let gw = "Gateway";
    check(&[
        (
            &[GATEWAY_POD, (gw, "a", &first), (gw, "b", &same)],
            codes::CONFLICTING_GATEWAYS,
            &["b"],
        ),
        (
            &[GATEWAY_POD, (gw, "a", &same), (gw, "b", &first)],
            codes::CONFLICTING_GATEWAYS,
            &["b"],
        ),
        // No pod is of both.
        (
            &[(gw, "a", &same), (gw, "b", &first)],
            codes::CONFLICTING_GATEWAYS,
            &[],
        ),
        (
            &[(gw, "a", &first), (gw, "b", &first)],
            codes::CONFLICTING_GATEWAYS,
            &["b"],
        ),
        // This host's gateway is one.
        (
            &[(gw, "a", &named), (gw, "b", &here)],
            codes::CONFLICTING_GATEWAYS,
            &["b"],
        ),
        (
            &[(gw, "a", &nowhere), (gw, "b", &here)],
            codes::CONFLICTING_GATEWAYS,
            &[],
        ),
        (
            &[(gw, "a", &first), (gw, "b", &elsewhere)],
            codes::CONFLICTING_GATEWAYS,
            &[],
        ),
    ]);
}

#[test]
fn certificates_and_ports_of_one_gateway_workload() {
    let first = secure_gateway("istio: gw", "a.test", "one");
    let same = secure_gateway("istio: gw, app: gw", "a.test", "two");
    let elsewhere = secure_gateway("istio: other", "a.test", "one");
    let shares = secure_gateway("istio: gw", "b.test", "one");
    let service = "{selector: {istio: gw}, ports: [{name: https, port: 443, targetPort: 8443}]}";
    let wrong = "{selector: {istio: gw}, ports: [{name: http, port: 80, targetPort: 8080}]}";
    let gw = "Gateway";
    check(&[
        (
            &[(gw, "a", &first), (gw, "b", &shares)],
            codes::SHARED_CERTIFICATE,
            &["b"],
        ),
        (
            &[(gw, "a", &first), (gw, "b", &same)],
            codes::SHARED_CERTIFICATE,
            &[],
        ),
        (
            &[(gw, "a", &first), (gw, "b", &elsewhere)],
            codes::SHARED_CERTIFICATE,
            &[],
        ),
        (
            &[(gw, "a", &first)],
            codes::GATEWAY_PORT_NOT_IN_SERVICE,
            &[],
        ),
        (
            &[(gw, "a", &first), GATEWAY_POD, ("Service", "s", service)],
            codes::GATEWAY_PORT_NOT_IN_SERVICE,
            &[],
        ),
        (
            &[(gw, "a", &first), GATEWAY_POD, ("Service", "s", wrong)],
            codes::GATEWAY_PORT_NOT_IN_SERVICE,
            &["a"],
        ),
    ]);
}

#[test]
fn subsets_do_not_apply_at_gateways() {
    let mesh = "{hosts: [app], http: [{route: [{destination: {host: app, subset: v1}}]}]}";
    let edge = "{hosts: [a.test], gateways: [gw], http: [{route: [{destination: {host: app}}]}]}";
    let named = "{hosts: [a.test], gateways: [gw], http: [{route: [{destination: {host: app, subset: v1}}]}]}";
    let vs = "VirtualService";
    check(&[
        (
            &[APP, (vs, "m", mesh), (vs, "e", edge)],
            codes::SUBSET_NOT_AT_GATEWAY,
            &["e"],
        ),
        (
            &[APP, (vs, "m", mesh), (vs, "e", named)],
            codes::SUBSET_NOT_AT_GATEWAY,
            &[],
        ),
        (
            &[APP, (vs, "m", TO_APP), (vs, "e", edge)],
            codes::SUBSET_NOT_AT_GATEWAY,
            &[],
        ),
    ]);
}

#[test]
fn ports_of_external_names() {
    let external = |name: &str| {
        format!("{{type: ExternalName, externalName: x.test, ports: [{{name: {name}, port: 80}}]}}")
    };
    let rows = [
        ("http", false),
        ("tcp", true),
        ("tcp-a", false),
        ("web", true),
    ];
    for (name, reported) in rows {
        let spec = external(name);
        let expected: &[&str] = if reported { &["s"] } else { &[] };
        check(&[(
            &[("Service", "s", &spec)],
            codes::EXTERNAL_NAME_PORT,
            expected,
        )]);
    }
}

#[test]
fn certificates_of_several_namespaces() {
    let gateway = |tls: &str| {
        format!(
            "{{selector: {{istio: gw}}, servers: [{{port: {{number: 443, name: https, protocol: \
             HTTPS}}, hosts: [a.test], tls: {{mode: SIMPLE, {tls}}}}}]}}"
        )
    };
    let secret = gateway("credentialName: one");
    let files = gateway("serverCertificate: /c.pem, privateKey: /k.pem");
    let (gw, code) = ("Gateway", codes::SHARED_CERTIFICATE);
    // A Secret is that of the namespace, a file is that of the host.
    check(&[
        (&[(gw, "a", &secret), (gw, "far/b", &secret)], code, &[]),
        (&[(gw, "a", &files), (gw, "far/b", &files)], code, &["b"]),
    ]);
}
