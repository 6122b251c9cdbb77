//! Rate limits as users write them: EnvoyFilters with Envoy's local rate limit, at workloads
//! and at the gateway, and with a service of rate limits.

mod service;

use self::service::LimitService;
use crate::support::{Galleria, Host, Service, manifests};

const LIMIT: &str = "stat_prefix: limit
          token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 3600s}
          filter_enabled: {default_value: {numerator: 100, denominator: HUNDRED}}
          filter_enforced: {default_value: {numerator: 100, denominator: HUNDRED}}
          enable_x_ratelimit_headers: DRAFT_VERSION_03
          response_headers_to_add: [{append: false, header: {key: x-limited, value: 'yes'}}]";

/// The example of Istio's documentation, for the workloads that `selector` selects.
fn limit(namespace: &str, selector: &str, context: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: limit, namespace: {namespace}}}
spec:
  workloadSelector: {{labels: {{{selector}}}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: {context}
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          {LIMIT}
"
    )
}

fn start(documents: &str) -> (Host, tempfile::TempDir) {
    let services = [Service::new("app", "hello"), Service::new("call", "call")];
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = manifests(&services) + documents;
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    (Galleria::run(folder.path()).start(), folder)
}

#[test]
fn workload_accepts_as_many_requests_as_its_limit() {
    let (host, _folder) = start(&limit("test", "app: app", "SIDECAR_INBOUND"));
    let first = host.get("/app/a");
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(first.header("x-ratelimit-limit"), "2");
    assert_eq!(first.header("x-ratelimit-remaining"), "1");
    assert!(!first.headers.contains_key("x-limited"));
    // A guest takes the next token.
    let through = host.get("/call/?url=http://app/b");
    assert_eq!(through.header("x-upstream-status"), "200");
    let over = host.get("/app/c");
    assert_eq!(
        (over.status, over.body.as_str()),
        (429, "local_rate_limited")
    );
    assert_eq!(over.header("x-limited"), "yes");
    assert_eq!(over.header("x-ratelimit-remaining"), "0");
    let seconds: u64 = over.header("retry-after").parse().expect("seconds");
    assert!((3000..=3600).contains(&seconds), "{seconds}");
    let through = host.get("/call/?url=http://app/d");
    assert_eq!(through.header("x-upstream-status"), "429");
    host.call("the call", |call| {
        call["path"] == "/app/c"
            && call["response_flags"] == "RL"
            && call["response_code_details"] == "local_rate_limited"
    });
    // Other workloads are not concerned.
    assert_eq!(host.get("/call/?url=http://nowhere.example").status, 200);
}

#[test]
fn gateway_limits_all_requests_or_those_of_a_route() {
    let selector = "istio: ingressgateway";
    let (host, _folder) = start(&limit("istio-system", selector, "GATEWAY"));
    assert_eq!(host.get("/app/a").status, 200);
    assert_eq!(host.get("/nowhere").status, 404);
    assert_eq!(host.get("/app/a").status, 429);
    drop(host);
    // Only requests with a header are limited, by its value.
    let by_user = limit("istio-system", selector, "GATEWAY").replace(
        "token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 3600s}",
        "descriptors: [{entries: [{key: user, value: me}], token_bucket: {max_tokens: 1, \
         fill_interval: 3600s}}]",
    ) + "  - applyTo: VIRTUAL_HOST
    match: {context: GATEWAY, routeConfiguration: {vhost: {name: '*:80'}}}
    patch:
      operation: MERGE
      value: {rate_limits: [{actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]}]}
";
    let (host, _folder) = start(&by_user);
    let ask = |user: &str| host.get_with("/app/a", &[("x-user", user)]).status;
    assert_eq!(
        [ask("me"), ask("me"), ask("you"), ask("you")],
        [200, 429, 200, 200]
    );
    assert_eq!(host.get("/app/a").status, 200);
}

/// A service of rate limits, and the filter that asks it about the user of a request.
fn global(service: &LimitService, namespace: &str, selector: &str, context: &str) -> String {
    let port = service.server.address.port();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ratelimit, namespace: test}}
spec:
  hosts: [ratelimit.example]
  ports: [{{number: 8081, name: grpc, protocol: GRPC}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{grpc: {port}}}}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: global, namespace: {namespace}}}
spec:
  workloadSelector: {{labels: {{{selector}}}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{context: {context}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.ratelimit
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
          domain: shop
          failure_mode_deny: true
          timeout: 5s
          rate_limit_service:
            grpc_service: {{envoy_grpc: {{cluster_name: outbound|8081||ratelimit.example}}}}
            transport_api_version: V3
  - applyTo: VIRTUAL_HOST
    match: {{context: {context}, routeConfiguration: {{vhost: {{name: '', route: {{action: ANY}}}}}}}}
    patch:
      operation: MERGE
      value:
        rate_limits:
        - actions:
          - request_headers: {{header_name: x-user, descriptor_key: user}}
          - generic_key: {{descriptor_value: all}}
"
    )
}

#[test]
fn service_limits_the_requests_of_all_hosts() {
    for (namespace, selector, context) in [
        ("istio-system", "istio: ingressgateway", "GATEWAY"),
        ("test", "app: app", "SIDECAR_INBOUND"),
    ] {
        let service = LimitService::start();
        let (host, _folder) = start(&global(&service, namespace, selector, context));
        let ask = |user: &str| host.get_with("/app/a", &[("x-user", user)]);
        let first = ask("me");
        assert_eq!((first.status, first.header("x-before")), (200, "0"));
        assert_eq!(ask("me").status, 200);
        let over = ask("me");
        assert_eq!((over.status, over.body.as_str()), (429, "slow down"));
        assert_eq!(over.header("x-envoy-ratelimited"), "true");
        assert_eq!(over.header("x-before"), "2");
        host.call("the call", |call| {
            call["response_flags"] == "RL"
                && call["response_code_details"] == "request_rate_limited"
        });
        assert_eq!(ask("you").status, 200);
        // Without a descriptor, nobody is asked.
        assert_eq!(host.get("/app/a").status, 200);
        let me = ["user=me".to_owned(), "generic_key=all".to_owned()];
        assert_eq!(service.asked()[0], ("shop".to_owned(), me.to_vec()));
        assert_eq!(service.asked().len(), 4);
        // The service fails.
        assert_eq!(ask("broken").status, 500);
        host.call("the failure", |call| {
            call["response_flags"] == "RLSE"
                && call["response_code_details"] == "rate_limiter_error"
        });
        for (result, expected) in [("ok", 3.0), ("denied", 1.0), ("error", 1.0)] {
            let result = format!("result=\"{result}\"");
            let labels = ["kind=\"ratelimit\"", "provider=\"shop\"", result.as_str()];
            let count = host.metric("galleria_provider_decisions_total", &labels);
            assert_eq!(count, expected, "{result}");
        }
    }
}
