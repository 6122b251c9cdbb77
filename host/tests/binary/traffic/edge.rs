//! The edge: paths that could bypass a rule, and Ingress.

use super::{Shop, flags, with_rules};
use crate::support::Service;

#[test]
fn path_is_normalised_before_rules_match() {
    let shop = Shop::start(&with_rules(
        &[Service::new("good", "echo")],
        "    - match: [{uri: {prefix: /admin}}]
      directResponse: {status: 403, body: {string: forbidden}}
",
        &[],
    ));
    assert_eq!(shop.host.get("/good/page").status, 200);
    for path in [
        "/good/../admin",
        "/good/./../admin",
        "/good/%2e%2e/admin",
        "/%61dmin",
        "/good/../../admin/users",
    ] {
        assert_eq!(shop.host.get(path).status, 403, "{path}");
    }
    shop.counted(&["response_code=\"403\""], 5.0);
    shop.counted(&["destination_workload=\"good\""], 1.0);
    let calls = shop.host.calls();
    assert!(calls.iter().all(|call| flags(call) == "-"), "{calls:?}");
}

#[test]
fn ingress_routes_by_host_and_path() {
    let ingress = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: test}
spec:
  rules:
    - host: shop.example.com
      http:
        paths:
          - path: /hello
            pathType: Prefix
            backend: {service: {name: hello, port: {number: 80}}}
          - path: /only
            pathType: Exact
            backend: {service: {name: echo, port: {name: http}}}
";
    let services = [Service::new("hello", "hello"), Service::new("echo", "echo")];
    let shop = Shop::start(&with_rules(&services, "", &[ingress.to_owned()]));
    let get = |path: &str| shop.host.get_with(path, &[("host", "shop.example.com")]);
    assert_eq!(get("/hello/world").body, "hello\n");
    assert_eq!(get("/hello").body, "hello\n");
    assert!(get("/only").body.contains("\"target\":\"/only\""));
    for path in ["/helloworld", "/only/more", "/"] {
        let answer = get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(flags(&shop.calls(path, 1)[0]), "NR", "{path}");
    }
    shop.counted(&["destination_workload=\"hello\""], 2.0);
    shop.counted(&["response_code=\"404\"", "response_flags=\"NR\""], 3.0);
}
