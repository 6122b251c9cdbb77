//! Local rate limits: which requests are limited, and by which bucket.

use std::time::Duration;

use galleria_mesh::rate_limit::LimitedRequest;

use crate::authorization::Asked;
use crate::world::{World, services};

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.\
                    LocalRateLimit";

/// A limit as a filter's configuration, on one line.
fn limit(tokens: u32, rest: &str) -> String {
    format!(
        "{{'@type': {TYPE}, stat_prefix: a, token_bucket: {{max_tokens: {tokens}, tokens_per_fill: \
         {tokens}, fill_interval: 10s}}, filter_enabled: {{default_value: {{numerator: 100}}}}, \
         filter_enforced: {{default_value: {{numerator: 100}}}}{rest}}}"
    )
}

fn filter(context: &str, limit: &str) -> String {
    format!(
        "- applyTo: HTTP_FILTER\n  match: {{context: {context}}}\n  patch: {{operation: \
         INSERT_BEFORE, value: {{name: envoy.filters.http.local_ratelimit, typed_config: \
         {limit}}}}}\n"
    )
}

fn route(context: &str, vhost: &str, value: &str) -> String {
    format!(
        "- applyTo: HTTP_ROUTE\n  match: {{context: {context}, routeConfiguration: {{vhost: \
         {{{vhost}}}}}}}\n  patch: {{operation: MERGE, value: {{{value}}}}}\n"
    )
}

fn of_route(limit: &str) -> String {
    format!("typed_per_filter_config: {{envoy.filters.http.local_ratelimit: {limit}}}")
}

fn envoy_filter(namespace: &str, selector: &str, patches: &str) -> String {
    let patches = patches.trim_end().replace('\n', "\n  ");
    format!(
        "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: \
         limit, namespace: {namespace}}}\nspec:\n  workloadSelector: {{labels: \
         {{{selector}}}}}\n  configPatches:\n  {patches}\n"
    )
}

fn world(yaml: &str) -> World {
    World::new(&(services(&[("shop", "app"), ("bank", "app")]) + yaml))
        .pods("shop", "app", &[("app", "app"), ("version", "v1")], 1)
        .pods("bank", "app", &[("app", "app")], 1)
}

/// `+` for a request that is allowed, `-` for one over the limit.
fn ask(world: &mut World, to: &str, route: Option<&str>, request: &str) -> char {
    let asked = Asked::parse(request);
    let gateway = world.snapshot.gateway_workload().clone();
    let (workload, limits) = match to {
        "gateway" => (gateway, Some(world.snapshot.gateway_rate_limits())),
        name => {
            let workload = world.workload(name);
            let policies = world.snapshot.inbound_policies(&workload);
            (workload, policies.map(|policies| policies.rate_limits()))
        }
    };
    let Some(limits) = limits else {
        return '+';
    };
    let inbound = asked.inbound(&workload);
    let limited = LimitedRequest {
        head: inbound.head,
        port: inbound.port,
        remote_ip: inbound.head.source_ip,
        route,
    };
    match limits.take(&limited, world.now, &mut world.rng) {
        Ok(_) => '+',
        Err(reply) => {
            assert_eq!(reply.status, 429);
            assert_eq!(reply.body, "local_rate_limited");
            assert_eq!(reply.flags.to_string(), "RL");
            assert_eq!(reply.details, "local_rate_limited");
            '-'
        }
    }
}

fn asks(world: &mut World, to: &str, requests: &[&str]) -> String {
    let answers = requests.iter().map(|request| ask(world, to, None, request));
    answers.collect()
}

const GET: &str = "GET app/";

#[test]
fn limits_select_workloads() {
    let all = filter("SIDECAR_INBOUND", &limit(1, ""));
    for (yaml, shop, bank, gateway) in [
        (String::new(), "++", "++", "++"),
        (envoy_filter("shop", "app: app", &all), "+-", "++", "++"),
        (envoy_filter("shop", "", &all), "+-", "++", "++"),
        (envoy_filter("shop", "app: other", &all), "++", "++", "++"),
        (
            envoy_filter("shop", "app: app, version: v1", &all),
            "+-",
            "++",
            "++",
        ),
        (
            envoy_filter("istio-system", "app: app", &all),
            "+-",
            "+-",
            "++",
        ),
        (
            envoy_filter(
                "istio-system",
                "istio: ingressgateway",
                &filter("GATEWAY", &limit(1, "")),
            ),
            "++",
            "++",
            "+-",
        ),
        (
            envoy_filter(
                "shop",
                "istio: ingressgateway",
                &filter("GATEWAY", &limit(1, "")),
            ),
            "++",
            "++",
            "++",
        ),
        (
            envoy_filter("istio-system", "", &filter("ANY", &limit(1, ""))),
            "+-",
            "+-",
            "+-",
        ),
        (
            envoy_filter("shop", "", &filter("GATEWAY", &limit(1, ""))),
            "++",
            "++",
            "++",
        ),
    ] {
        let mut world = world(&yaml);
        assert_eq!(asks(&mut world, "shop/app", &[GET, GET]), shop, "{yaml}");
        assert_eq!(asks(&mut world, "bank/app", &[GET, GET]), bank, "{yaml}");
        assert_eq!(asks(&mut world, "gateway", &[GET, GET]), gateway, "{yaml}");
    }
}

#[test]
fn tokens_come_back_and_outlive_snapshots() {
    let yaml = envoy_filter("shop", "app: app", &filter("ANY", &limit(2, "")));
    let mut world = world(&yaml);
    assert_eq!(asks(&mut world, "shop/app", &[GET, GET, GET]), "++-");
    // A new snapshot with the same limit goes on with its bucket.
    world.scale("shop", "app", &[("app", "app"), ("version", "v1")], 2);
    assert_eq!(asks(&mut world, "shop/app", &[GET]), "-");
    world.now += Duration::from_secs(10);
    assert_eq!(asks(&mut world, "shop/app", &[GET, GET, GET]), "++-");
}

#[test]
fn shares_of_requests_are_limited() {
    for field in ["filter_enabled", "filter_enforced"] {
        let never = "{default_value: {numerator: 0}}";
        let always = "{default_value: {numerator: 100}}";
        let of = |share: &str| {
            limit(1, "").replace(&format!("{field}: {always}"), &format!("{field}: {share}"))
        };
        for (share, expected) in [(never, "++"), (always, "+-")] {
            let mut world = world(&envoy_filter("shop", "", &filter("ANY", &of(share))));
            assert_eq!(
                asks(&mut world, "shop/app", &[GET, GET]),
                expected,
                "{field} {share}"
            );
        }
    }
}

/// Patches of routes, and the answers of a workload on its ports.
#[test]
fn routes_of_a_workload_have_limits() {
    let nothing = format!("{{'@type': {TYPE}, stat_prefix: a}}");
    let base = filter("SIDECAR_INBOUND", &nothing);
    let own = of_route(&limit(1, ""));
    for (vhost, expected) in [
        ("", "+-"),
        ("name: 'inbound|http|8080'", "+-"),
        ("name: 'inbound|http|80'", "+-"),
        ("name: 'inbound|http|9090'", "++"),
        ("name: 'other'", "++"),
        ("name: 'inbound|http|8080', route: {name: default}", "+-"),
        ("route: {name: other}", "++"),
    ] {
        let patches = format!("{base}{}", route("SIDECAR_INBOUND", vhost, &own));
        let mut world = world(&envoy_filter("shop", "app: app", &patches));
        assert_eq!(
            asks(&mut world, "shop/app", &[GET, GET]),
            expected,
            "{vhost}"
        );
    }
    // Without the filter, its configuration for a route has no effect.
    let mut world = world(&envoy_filter("shop", "", &route("ANY", "", &own)));
    assert_eq!(asks(&mut world, "shop/app", &[GET, GET]), "++");
}

#[test]
fn routes_of_the_gateway_have_limits() {
    let base = filter("GATEWAY", &limit(9, ""));
    for (vhost, route_name, host, expected) in [
        ("name: 'a.example:80'", None, "a.example", "+-"),
        ("name: 'a.example:80'", None, "b.example", "++"),
        ("name: 'a.example:443'", None, "a.example", "++"),
        ("name: '*.example:80'", None, "b.example", "+-"),
        ("name: '*:80'", None, "b.example", "+-"),
        ("name: 'a.example'", None, "a.example", "++"),
        (
            "route: {name: checkout}",
            Some("checkout"),
            "a.example",
            "+-",
        ),
        ("route: {name: checkout}", Some("other"), "a.example", "++"),
        (
            "name: 'a.example:80', route: {name: checkout}",
            Some("checkout"),
            "a.example",
            "+-",
        ),
    ] {
        let own = route("GATEWAY", vhost, &of_route(&limit(1, "")));
        let patches = format!("{base}{own}");
        let mut world = world(&envoy_filter(
            "istio-system",
            "istio: ingressgateway",
            &patches,
        ));
        let request = format!("GET {host}/ port=80");
        let answers = [(); 2].map(|()| ask(&mut world, "gateway", route_name, &request));
        assert_eq!(String::from_iter(answers), expected, "{vhost} {host}");
    }
}

#[test]
fn descriptors_have_buckets_of_their_own() {
    let bucket = "token_bucket: {max_tokens: 1, fill_interval: 10s}";
    let descriptors = |rest: &str| {
        format!(", descriptors: [{{entries: [{{key: user, value: me}}], {bucket}}}]{rest}")
    };
    let actions = "rate_limits: [{actions: [{request_headers: {header_name: x-user, \
                   descriptor_key: user}}]}]";
    let (me, you) = ("GET app/ h:x-user=me", "GET app/ h:x-user=you");
    for (rest, requests, expected) in [
        // A bucket of its own, and the common one.
        (descriptors(""), &[me, me, you, you, you][..], "+-++-"),
        // Only the own one.
        (
            descriptors(", always_consume_default_token_bucket: false"),
            &[me, me, you, you, you, you],
            "+-+++-",
        ),
        // Without descriptors, all are the same.
        (String::new(), &[me, me, you, you], "+++-"),
        (descriptors(""), &[GET, GET, GET, GET], "+++-"),
    ] {
        let patches = filter("ANY", &limit(3, &rest)) + &route("ANY", "", actions);
        let mut world = world(&envoy_filter("shop", "", &patches));
        assert_eq!(asks(&mut world, "shop/app", requests), expected, "{rest}");
    }
}

#[test]
fn reply_tells_when_to_come_back() {
    let rest = ", enable_x_ratelimit_headers: DRAFT_VERSION_03, response_headers_to_add: \
                [{header: {key: x-local-rate-limit, value: 'true'}}]";
    let world = world(&envoy_filter("shop", "", &filter("ANY", &limit(1, rest))));
    let workload = world.workload("shop/app");
    let policies = world
        .snapshot
        .inbound_policies(&workload)
        .expect("policies");
    let asked = Asked::parse(GET);
    let inbound = asked.inbound(&workload);
    let limited = LimitedRequest {
        head: inbound.head,
        port: inbound.port,
        remote_ip: None,
        route: None,
    };
    let mut rng = world.rng.clone();
    let text = |headers: &[(http::HeaderName, http::HeaderValue)]| {
        let headers = headers.iter();
        let headers =
            headers.map(|(name, value)| format!("{name}={}", value.to_str().expect("text")));
        headers.collect::<Vec<_>>().join(" ")
    };
    let allowed = policies.rate_limits().take(&limited, world.now, &mut rng);
    let limits = "x-ratelimit-limit=1 x-ratelimit-remaining=0 x-ratelimit-reset=10";
    assert_eq!(text(&allowed.expect("allowed")), limits);
    let now = world.now + Duration::from_millis(2500);
    let reply = policies.rate_limits().take(&limited, now, &mut rng);
    let reply = reply.expect_err("over the limit");
    let expected = "content-type=text/plain x-ratelimit-limit=1 x-ratelimit-remaining=0 \
                    x-ratelimit-reset=8 retry-after=8 x-local-rate-limit=true";
    assert_eq!(text(&reply.headers), expected);
}
