//! Match conditions besides paths and headers, and the names by which services are
//! called.

use std::time::{Duration, Instant};

use super::{ISOLATION, Shop, flags, subsets, two_versions, with_rules};
use crate::support::Service;

const TO_V1: &str = "route: [{destination: {host: app, subset: v1}}]";
const TO_V2: &str = "route: [{destination: {host: app, subset: v2}}]";

#[test]
fn rules_match_query_parameters_and_absent_headers() {
    let rules = format!(
        "    - name: by-query
      match: [{{uri: {{prefix: /app}}, queryParams: {{v: {{exact: '2'}}}}}}]
      {TO_V2}
    - name: by-absence
      match: [{{uri: {{prefix: /app}}, withoutHeaders: {{x-known: {{}}}}, method: {{exact: GET}}}}]
      {TO_V2}
    - name: others
      match: [{{uri: {{prefix: /app}}}}]
      {TO_V1}
"
    );
    let shop = Shop::start(&with_rules(&two_versions(), &rules, &[subsets()]));
    let known = [("x-known", "yes")];
    for (path, headers, version, route) in [
        ("/app/a?v=2", &known[..], "v2", "by-query"),
        ("/app/b?v=22", &known[..], "v1", "others"),
        ("/app/c?w=2", &known[..], "v1", "others"),
        ("/app/d", &[][..], "v2", "by-absence"),
    ] {
        assert_eq!(shop.version(path, headers), version, "{path}");
        let call = &shop.calls(path, 1)[0];
        assert_eq!(call["route_name"], route, "{path}");
        assert_eq!(flags(call), "-");
    }
    shop.counted(
        &["destination_version=\"v2\"", "response_code=\"200\""],
        2.0,
    );
    shop.counted(
        &["destination_version=\"v1\"", "response_code=\"200\""],
        2.0,
    );
}

#[test]
fn rules_match_the_labels_of_the_calling_workload() {
    let inside = format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: inside, namespace: test}}
spec:
  hosts: [app]
  http:
    - name: chosen
      match: [{{sourceLabels: {{app: beta}}}}]
      {TO_V2}
    - name: others
      match: [{{sourceNamespace: test}}]
      {TO_V1}
"
    );
    let [v1, v2] = two_versions();
    let services = [
        v1,
        v2,
        Service::new("beta", "call"),
        Service::new("call", "call"),
    ];
    let shop = Shop::start(&with_rules(&services, "", &[subsets(), inside]));
    for (caller, version) in [("beta", "v2"), ("call", "v1")] {
        let path = format!("/{caller}/?url=http://app/by-{caller}");
        assert_eq!(shop.version(&path, &[]), version, "{caller}");
        let call = &shop.calls(&format!("/by-{caller}"), 1)[0];
        assert_eq!(call["source_workload"], format!("test/{caller}"));
        assert_eq!(flags(call), "-");
    }
    shop.counted(
        &["source_workload=\"beta\"", "destination_version=\"v2\""],
        1.0,
    );
    shop.counted(
        &["source_workload=\"call\"", "destination_version=\"v1\""],
        1.0,
    );
}

#[test]
fn rules_can_be_delegated_to_another_virtual_service() {
    let child = format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: child, namespace: test}}
spec:
  http:
    - name: canary
      match: [{{uri: {{prefix: /app/canary}}}}]
      {TO_V2}
    - name: rest
      {TO_V1}
"
    );
    let rules = "    - match: [{uri: {prefix: /app}}]
      delegate: {name: child}
";
    let shop = Shop::start(&with_rules(&two_versions(), rules, &[subsets(), child]));
    assert_eq!(shop.version("/app/canary/x", &[]), "v2");
    assert_eq!(shop.version("/app/else", &[]), "v1");
    assert_eq!(shop.calls("/app/canary/x", 1)[0]["route_name"], "canary");
    shop.counted(&["response_code=\"200\""], 2.0);
}

#[test]
fn plain_http_requests_are_redirected_to_https() {
    let secure = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: secure, namespace: test}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
      hosts: [secure.example.com]
      tls: {httpsRedirect: true}
";
    let services = [Service::new("app", "hello")];
    let shop = Shop::start(&with_rules(&services, "", &[secure.to_owned()]));
    let answer = shop
        .host
        .get_with("/app/page?a=b", &[("host", "secure.example.com")]);
    assert_eq!(answer.status, 301);
    let location = answer.header("location");
    assert!(
        location.starts_with("https://secure.example.com"),
        "{location}"
    );
    assert!(location.ends_with("/app/page?a=b"), "{location}");
    assert_eq!(shop.host.get("/app/page").status, 200);
    assert_eq!(shop.calls("/app/page?a=b", 1)[0]["attempts"], 0);
    shop.counted(&["response_code=\"301\""], 1.0);
}

#[test]
fn ingress_rewrites_paths_and_uses_its_default_backend() {
    let ingress = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: test
  annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$2}
spec:
  defaultBackend: {service: {name: hello, port: {number: 80}}}
  rules:
    - host: shop.example.com
      http:
        paths:
          - path: /store(/|$)(.*)
            pathType: ImplementationSpecific
            backend: {service: {name: echo, port: {number: 80}}}
";
    let services = [Service::new("hello", "hello"), Service::new("echo", "echo")];
    let shop = Shop::start(&with_rules(&services, "", &[ingress.to_owned()]));
    let get = |path: &str| shop.host.get_with(path, &[("host", "shop.example.com")]);
    let answer = get("/store/cart/7");
    assert!(
        answer.body.contains("\"target\":\"/cart/7\""),
        "{}",
        answer.body
    );
    assert_eq!(get("/nowhere").body, "hello\n");
    shop.counted(&["destination_workload=\"echo\""], 1.0);
    shop.counted(&["destination_workload=\"hello\""], 1.0);
}

#[test]
fn external_names_and_mesh_internal_entries_resolve_to_services_of_the_mesh() {
    let alias = "apiVersion: v1
kind: Service
metadata: {name: alias, namespace: test}
spec: {type: ExternalName, externalName: app.test.svc.cluster.local}
";
    let services = [Service::new("call", "call"), Service::new("app", "hello")];
    let shop = Shop::start(&with_rules(&services, "", &[alias.to_owned()]));
    for name in ["alias", "alias.test", "app.test.svc.cluster.local:80"] {
        let answer = shop.host.get(&format!("/call/?url=http://{name}/asked"));
        assert_eq!(answer.body, "hello\n", "{name}");
    }
    let calls = shop.calls("/asked", 3);
    assert!(calls.iter().all(|call| flags(call) == "-"), "{calls:?}");
    shop.counted(
        &["source_workload=\"call\"", "destination_workload=\"app\""],
        3.0,
    );
}

#[test]
fn each_attempt_has_its_own_timeout() {
    let rules = "    - match: [{uri: {prefix: /app}}]
      rewrite: {uri: /}
      route: [{destination: {host: app}}]
      retries: {attempts: 1, perTryTimeout: 300ms, retryOn: 5xx}
";
    let service = Service::new("app", "slow").annotation(ISOLATION, "instance");
    let shop = Shop::start(&with_rules(&[service], rules, &[]));
    assert_eq!(shop.host.get("/app?ms=1").status, 200);
    let start = Instant::now();
    assert_eq!(shop.host.get("/app?ms=20000").status, 504);
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(600)..Duration::from_secs(5)).contains(&took),
        "it took {took:?}"
    );
    let call = &shop.calls("/app?ms=20000", 1)[0];
    assert_eq!(call["attempts"], 2);
    shop.counted(&["response_code=\"504\""], 1.0);
}
