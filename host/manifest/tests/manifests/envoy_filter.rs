//! EnvoyFilter: local rate limits are read, everything else is reported.

use std::path::Path;
use std::time::Duration;

use galleria_manifest::model::{
    EnvoyFilter, PatchContext, RateLimitAction, RateLimitChange, Resource,
};
use galleria_manifest::{LoadResult, read_str};

use super::render;

fn read(patches: &str) -> LoadResult {
    let patches = patches.replace('\n', "\n  ");
    let text = format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: limit, \
         namespace: shop}}\nspec:\n  workloadSelector: {{labels: {{app: app}}}}\n  \
         configPatches:\n  {patches}\n"
    );
    read_str(Path::new("text.yaml"), &text)
}

fn filter(loaded: &LoadResult) -> &EnvoyFilter {
    match loaded.objects.first().map(|object| &object.resource) {
        Some(Resource::EnvoyFilter(filter)) => filter,
        other => unreachable!("{other:?} {}", render(&loaded.diagnostics)),
    }
}

/// The example of Istio's documentation.
const ISTIO: &str = "- applyTo: HTTP_FILTER
  match:
    context: SIDECAR_INBOUND
    listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
  patch:
    operation: INSERT_BEFORE
    value:
      name: envoy.filters.http.local_ratelimit
      typed_config:
        '@type': type.googleapis.com/udpa.type.v1.TypedStruct
        type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
        value:
          stat_prefix: http_local_rate_limiter
          token_bucket: {max_tokens: 4, tokens_per_fill: 2, fill_interval: 60s}
          filter_enabled:
            runtime_key: local_rate_limit_enabled
            default_value: {numerator: 100, denominator: HUNDRED}
          filter_enforced:
            runtime_key: local_rate_limit_enforced
            default_value: {numerator: 5000, denominator: TEN_THOUSAND}
          response_headers_to_add:
          - append: false
            header: {key: x-local-rate-limit, value: 'true'}";

#[test]
fn limit_of_a_workload_is_read() {
    let loaded = read(ISTIO);
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
    let filter = filter(&loaded);
    assert_eq!(filter.workload_selector["app"], "app");
    assert!(!filter.is_partly_enforced);
    let [patch] = filter.patches.as_slice() else {
        unreachable!("{filter:?}");
    };
    assert_eq!(patch.context, PatchContext::SidecarInbound);
    let RateLimitChange::Filter { port: None, limit } = &patch.change else {
        unreachable!("{patch:?}");
    };
    let bucket = limit.bucket.expect("a bucket");
    assert_eq!((bucket.max_tokens, bucket.tokens_per_fill), (4, 2));
    assert_eq!(bucket.fill_interval, Duration::from_secs(60));
    assert_eq!((limit.enabled.0, limit.enforced.0), (100.0, 50.0));
    assert_eq!(limit.status, 429);
    assert!(limit.response_headers[0].replaces && limit.always_takes_from_bucket);
}

#[test]
fn limits_of_routes_are_read() {
    let loaded = read(
        "- applyTo: HTTP_ROUTE
  match:
    context: GATEWAY
    routeConfiguration:
      vhost: {name: 'shop.example:80', route: {name: checkout, action: ANY}}
  patch:
    operation: MERGE
    value:
      route:
        rate_limits:
        - actions:
          - request_headers: {header_name: X-User, descriptor_key: user}
          - remote_address: {}
          - generic_key: {descriptor_value: all}
          - header_value_match: {descriptor_value: a, headers: [{name: ':path', string_match: {prefix: /a}}]}
      typed_per_filter_config:
        envoy.filters.http.local_ratelimit:
          '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          stat_prefix: a
          token_bucket: {max_tokens: 1, fill_interval: 1s}
          filter_enabled: {default_value: {numerator: 100}}
          filter_enforced: {default_value: {numerator: 100}}
          enable_x_ratelimit_headers: DRAFT_VERSION_03
          always_consume_default_token_bucket: false
          status: {code: 503}
          descriptors:
          - entries: [{key: user, value: me}]
            token_bucket: {max_tokens: 2, fill_interval: 1s}",
    );
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
    let RateLimitChange::Route(route) = &filter(&loaded).patches[0].change else {
        unreachable!("{loaded:?}");
    };
    assert_eq!(route.virtual_host.as_deref(), Some("shop.example:80"));
    assert_eq!(route.route.as_deref(), Some("checkout"));
    let limit = route.limit.as_ref().expect("a limit");
    assert!(limit.shows_limits && !limit.always_takes_from_bucket);
    assert_eq!(limit.status, 503);
    assert_eq!(
        limit.descriptors[0].entries,
        [("user".to_owned(), "me".to_owned())]
    );
    let [actions] = route.descriptors.as_slice() else {
        unreachable!("{route:?}");
    };
    assert_eq!(actions.len(), 4);
    let RateLimitAction::RequestHeader { name, .. } = &actions[0] else {
        unreachable!("{actions:?}");
    };
    assert_eq!(name, "x-user");
}

#[test]
fn other_patches_are_reported() {
    let lua = "- applyTo: HTTP_FILTER
  match: {context: SIDECAR_INBOUND}
  patch: {operation: INSERT_BEFORE, value: {name: envoy.filters.http.lua, typed_config: {'@type': x}}}";
    for patches in [
        lua,
        "- {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}",
        "- {applyTo: NETWORK_FILTER, patch: {operation: REMOVE}}",
        "- {applyTo: HTTP_ROUTE, patch: {operation: MERGE, value: {route: {timeout: 1s}}}}",
        // Only removes a limit.
        "- {applyTo: HTTP_FILTER, patch: {operation: REMOVE}}",
        &ISTIO.replace("SIDECAR_INBOUND", "SIDECAR_OUTBOUND"),
        &ISTIO.replace("local_ratelimit.v3", "other.v3"),
    ] {
        let loaded = read(patches);
        let found = render(&loaded.diagnostics);
        assert!(
            found.contains("this patch is not enforced by the host"),
            "{patches}\n{found}"
        );
        assert!(found.contains("[GAL0038]"), "{found}");
        assert!(filter(&loaded).patches.is_empty());
        assert!(loaded.objects[0].is_unenforced_restriction());
    }
    let loaded = read(&format!("{lua}\n{ISTIO}"));
    assert_eq!(filter(&loaded).patches.len(), 1);
    assert!(loaded.objects[0].is_unenforced_restriction());
    assert!(!read(ISTIO).objects[0].is_unenforced_restriction());
}

#[test]
fn mistakes_in_limits_are_reported() {
    for (right, wrong, message) in [
        ("max_tokens: 4", "max_tokens: 0", "max_tokens"),
        ("max_tokens: 4, ", "", "`max_tokens` is missing"),
        ("fill_interval: 60s", "fill_interval: 10ms", "at least 50ms"),
        (
            "fill_interval: 60s",
            "fill_interval: 60",
            "a unit is missing",
        ),
        ("numerator: 100", "numerator: many", "numerator"),
        (
            "denominator: HUNDRED",
            "denominator: TEN",
            "is not a denominator",
        ),
        (
            "key: x-local-rate-limit",
            "key: 'a b'",
            "is not a header name",
        ),
        ("token_bucket: {", "token_buckets: {", "unknown field"),
        (
            "stat_prefix: http_local_rate_limiter",
            "local_rate_limit_per_downstream_connection: true",
            "is not supported by this host",
        ),
        (
            "filter_enforced:\n            runtime_key: local_rate_limit_enforced\n            \
             default_value: {numerator: 5000, denominator: TEN_THOUSAND}",
            "stage: 0",
            "limits no request",
        ),
    ] {
        assert!(ISTIO.contains(right), "{right}");
        let found = render(&read(&ISTIO.replacen(right, wrong, 1)).diagnostics);
        assert!(found.contains(message), "{wrong}\n{found}");
    }
}
