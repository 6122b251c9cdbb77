//! Which workloads and gateways a policy selects, and how policies combine.

use super::{mesh, policy};

const GET: &str = "rules: [{to: [{operation: {methods: [GET]}}]}]";
const DENY_ALL: &str = "action: DENY\nrules: [{}]";

/// Policies, and the answers of `shop/app`, `shop/other` and `bank/app`.
#[test]
fn policies_select_workloads() {
    let select = |label: &str| format!("selector: {{matchLabels: {{{label}}}}}\n{DENY_ALL}");
    let rows = [
        // A policy is for its namespace.
        (policy("shop", "p", DENY_ALL), "dd-"),
        (policy("bank", "p", DENY_ALL), "--d"),
        (policy("other", "p", DENY_ALL), "---"),
        // One of the root namespace for all.
        (policy("istio-system", "p", DENY_ALL), "ddd"),
        // Labels.
        (policy("shop", "p", &select("app: app")), "d--"),
        (policy("shop", "p", &select("app: app, version: v1")), "d--"),
        (policy("shop", "p", &select("app: app, version: v2")), "---"),
        (policy("istio-system", "p", &select("app: app")), "d-d"),
        (policy("bank", "p", &select("app: other")), "---"),
        (
            policy("shop", "p", "selector: {}\naction: DENY\nrules: [{}]"),
            "dd-",
        ),
    ];
    for (yaml, expected) in rows {
        let world = mesh(&yaml);
        let denied = ["shop/app", "shop/other", "bank/app"].map(|to| {
            if world.ask(to, "GET app/") == "allow" {
                '-'
            } else {
                'd'
            }
        });
        assert_eq!(String::from_iter(denied), expected, "{yaml}");
    }
}

/// Policies by name, a request, and the answer.
type Row<'a> = (Vec<(&'a str, &'a str)>, &'a str, String);

#[test]
fn policies_combine() {
    let deny_get = format!("action: DENY\n{GET}");
    let audit = format!("action: AUDIT\n{GET}");
    let custom = format!("action: CUSTOM\nprovider: {{name: opa}}\n{GET}");
    let ns = |name: &str| format!("ns[shop]-policy[{name}]-rule[0]");
    let rows: Vec<Row> = vec![
        // Without ALLOW policies, everything else is allowed.
        (vec![("d", &deny_get)], "POST app/", "allow".into()),
        (vec![("d", &deny_get)], "GET app/", ns("d")),
        // With one, only what it allows.
        (vec![("a", GET)], "GET app/", "allow".into()),
        (vec![("a", GET)], "POST app/", "none".into()),
        (
            vec![("a", GET), ("b", "rules: [{}]")],
            "POST app/",
            "allow".into(),
        ),
        // One that allows nothing takes nothing away from others.
        (vec![("a", GET), ("b", "{}")], "GET app/", "allow".into()),
        (vec![("a", "{}")], "GET app/", "none".into()),
        // DENY is before ALLOW.
        (
            vec![("a", "rules: [{}]"), ("d", &deny_get)],
            "GET app/",
            ns("d"),
        ),
        // The first rule by name is reported.
        (vec![("y", DENY_ALL), ("x", DENY_ALL)], "GET app/", ns("x")),
        // A DENY policy without rules denies nothing.
        (vec![("d", "action: DENY")], "GET app/", "allow".into()),
        // AUDIT does not decide, and is not an ALLOW policy.
        (vec![("w", &audit)], "POST app/", "allow".into()),
        // What a service that is not declared would have to allow is denied.
        (
            vec![("c", &custom)],
            "GET app/",
            format!(
                "istio-ext-authz-opa-{}-deny-due-to-bad-CUSTOM-action",
                ns("c")
            ),
        ),
        (vec![("c", &custom)], "POST app/", "allow".into()),
        (
            vec![("a", "rules: [{}]"), ("c", &custom)],
            "GET app/",
            format!(
                "istio-ext-authz-opa-{}-deny-due-to-bad-CUSTOM-action",
                ns("c")
            ),
        ),
    ];
    for (policies, request, expected) in rows {
        let yaml = policies
            .iter()
            .map(|(name, spec)| policy("shop", name, spec));
        let world = mesh(&yaml.collect::<String>());
        assert_eq!(
            world.ask("shop/app", request),
            expected,
            "{policies:?} {request}"
        );
    }
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

#[test]
fn policy_can_target_a_service() {
    let target = |name: &str| format!("targetRefs: [{{kind: Service, name: {name}}}]\n{DENY_ALL}");
    let world = mesh(&(policy("shop", "p", &target("front")) + SERVICE));
    assert_ne!(world.ask("shop/app", "GET app/"), "allow");
    assert_eq!(world.ask("shop/other", "GET app/"), "allow");
    assert_eq!(world.ask("bank/app", "GET app/"), "allow");
    assert!(world.diagnostics.is_empty(), "{:?}", world.diagnostics);
    let world = mesh(&(policy("shop", "p", &target("back")) + SERVICE));
    assert_eq!(world.ask("shop/app", "GET app/"), "allow");
    let [diagnostic] = world.diagnostics.as_slice() else {
        unreachable!("{:?}", world.diagnostics);
    };
    assert!(diagnostic.contains("[IST0127]"), "{diagnostic}");
}

const GATEWAYS: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.example'}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: own, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [own.example]}]
";

/// Policies, and the answers of the gateway for three hosts on port 80.
#[test]
fn policies_select_the_gateway() {
    let target = |kind: &str, name: &str| {
        let group = "gateway.networking.k8s.io";
        format!("targetRefs: [{{group: {group}, kind: {kind}, name: {name}}}]\n{DENY_ALL}")
    };
    let select = |label: &str| format!("selector: {{matchLabels: {{{label}}}}}\n{DENY_ALL}");
    let by_name = "gateway.networking.k8s.io/gateway-name: public";
    let rows = [
        // `a.example`, `own.example`, `elsewhere`
        (policy("istio-system", "p", DENY_ALL), "ddd"),
        (
            policy("istio-system", "p", &select("istio: ingressgateway")),
            "ddd",
        ),
        (
            policy("istio-system", "p", &select("istio: egressgateway")),
            "---",
        ),
        // The gateway is in another namespace.
        (policy("shop", "p", &select("istio: ingressgateway")), "---"),
        (policy("shop", "p", DENY_ALL), "---"),
        (policy("shop", "p", &target("Gateway", "public")), "d--"),
        (policy("shop", "p", &target("Gateway", "private")), "---"),
        (policy("bank", "p", &target("Gateway", "public")), "---"),
        (
            policy("istio-system", "p", &target("GatewayClass", "istio")),
            "d--",
        ),
        (policy("shop", "p", &target("GatewayClass", "istio")), "---"),
        (policy("shop", "p", &select(by_name)), "d--"),
    ];
    for (yaml, expected) in rows {
        let world = mesh(&(yaml.clone() + GATEWAYS));
        let denied = ["a.example", "own.example", "elsewhere"].map(|host| {
            let answer = world.ask_gateway(&format!("GET {host}/ port=80"));
            if answer == "allow" { '-' } else { 'd' }
        });
        assert_eq!(String::from_iter(denied), expected, "{yaml}");
    }
}

#[test]
fn client_has_no_identity_at_the_gateway() {
    let spec = "selector: {matchLabels: {istio: ingressgateway}}\nrules:\n- from: [{source: \
                {remoteIpBlocks: [198.51.100.0/24]}}]\n  to: [{operation: {paths: [/a]}}]\n- from: \
                [{source: {principals: ['*']}}]\n";
    let world = mesh(&policy("istio-system", "p", spec));
    assert_eq!(world.ask_gateway("GET a.example/a port=80"), "allow");
    assert_eq!(world.ask_gateway("GET a.example/b port=80"), "none");
    // The workloads are not gateways.
    assert_eq!(world.ask("shop/app", "GET app/b"), "allow");
}

#[test]
fn policy_that_selects_nothing_is_reported() {
    let select = "selector: {matchLabels: {app: nothing}}\nrules: [{}]";
    let workload = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: \
                    shop}\nspec:\n  selector: {matchLabels: {app: x}}\n  template:\n    metadata: \
                    {labels: {app: x}}\n    spec: {containers: [{name: x, image: x:1}]}\n";
    let world = mesh(&(policy("shop", "p", select) + workload));
    let [diagnostic] = world.diagnostics.as_slice() else {
        unreachable!("{:?}", world.diagnostics);
    };
    let expected = "no workload of the namespace `shop` has these labels";
    assert!(diagnostic.contains(expected), "{diagnostic}");
    assert!(diagnostic.contains("[IST0127]"), "{diagnostic}");
    let select = "selector: {matchLabels: {app: x}}\nrules: [{}]";
    let world = mesh(&(policy("shop", "p", select) + workload));
    assert!(world.diagnostics.is_empty(), "{:?}", world.diagnostics);
}
