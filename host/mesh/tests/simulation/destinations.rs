//! DestinationRules and ServiceEntries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use galleria_manifest::model::ClientTlsMode;
use galleria_mesh::{CallerKey, Failure, Outcome, Target};
use http::StatusCode;

use crate::world::{World, destination_rule, istio, services, virtual_service};

/// Service `a` with two pods of v1 and two of v2, and a DestinationRule for it.
fn world(rule: &str) -> World {
    let mut yaml = services(&[("shop", "a")]);
    if !rule.is_empty() {
        yaml += &destination_rule("shop", "rule", &format!("  host: a\n{rule}"));
    }
    World::new(&yaml)
        .pods("shop", "a-v1", &[("app", "a"), ("version", "v1")], 2)
        .pods("shop", "a-v2", &[("app", "a"), ("version", "v2")], 2)
        .pods("shop", "client", &[("app", "client")], 1)
        .pods("shop", "other", &[("app", "other")], 1)
}

fn policy(policy: &str) -> World {
    world(&format!("  trafficPolicy: {policy}"))
}

/// The same, where calls are retried on every 5xx.
fn retrying(attempts: u32, policy: &str) -> World {
    let rule = format!(
        "  hosts: [a]\n  http: [{{route: [{{destination: {{host: a}}}}], retries: {{attempts: {attempts}, retryOn: 5xx}}}}]"
    );
    let yaml = services(&[("shop", "a")])
        + &virtual_service("shop", "vs", &rule)
        + &destination_rule(
            "shop",
            "rule",
            &format!("  host: a\n  trafficPolicy: {policy}"),
        );
    World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 4)
        .pods("shop", "client", &[], 1)
}

/// How often each pod is picked, each request ending before the next begins.
fn spread(world: &mut World, calls: usize) -> BTreeMap<String, usize> {
    let mut spread = BTreeMap::new();
    for _ in 0..calls {
        let sent = world.from("shop", "client", "http://a/").send().sent();
        *spread.entry(sent.pod().to_owned()).or_default() += 1;
    }
    spread
}

#[test]
fn least_request_is_the_default_and_avoids_busy_endpoints() {
    let mut world = world("");
    let first = world.from("shop", "client", "http://a/").send().sent();
    assert_eq!(first.forward.cluster.load_balancer(), "LEAST_REQUEST");
    let busy = first.pod().to_owned();
    // Of two random endpoints, the busy one is picked only if it is drawn twice.
    let spread = spread(&mut world, 1600);
    assert!(spread[&busy] < 200, "{spread:?}");
    drop(first);
}

#[test]
fn round_robin_takes_turns() {
    let mut world = policy("{loadBalancer: {simple: ROUND_ROBIN}}");
    assert!(spread(&mut world, 40).values().all(|count| *count == 10));
    world.set_ready("a-v1-0", false);
    let counts: Vec<usize> = spread(&mut world, 30).into_values().collect();
    assert_eq!(counts, [10, 10, 10]);
}

#[test]
fn random_and_passthrough_use_all_endpoints() {
    for simple in ["RANDOM", "PASSTHROUGH"] {
        let mut world = policy(&format!("{{loadBalancer: {{simple: {simple}}}}}"));
        let spread = spread(&mut world, 4000);
        assert!(
            spread.values().all(|count| (850..1150).contains(count)),
            "{simple} {spread:?}"
        );
    }
}

#[test]
fn an_endpoint_that_is_not_ready_gets_no_requests_under_any_policy() {
    let hash = "{consistentHash: {httpHeaderName: x-user}}";
    let maglev = "{consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 65537}}}";
    for balancer in [
        "{simple: RANDOM}",
        "{simple: LEAST_REQUEST}",
        "{simple: ROUND_ROBIN}",
        hash,
        maglev,
    ] {
        let mut world = policy(&format!("{{loadBalancer: {balancer}}}"));
        world.set_ready("a-v2-1", false);
        for number in 0..200 {
            let call = world.from("shop", "client", "http://a/");
            let sent = call.header("x-user", &number.to_string()).send().sent();
            assert_ne!(sent.pod(), "shop/a-v2-1", "{balancer}");
        }
    }
}

#[test]
fn a_retry_prefers_endpoints_that_were_not_tried() {
    let hash = "{consistentHash: {httpHeaderName: x-user}}";
    for balancer in [
        "{simple: RANDOM}",
        "{simple: LEAST_REQUEST}",
        "{simple: ROUND_ROBIN}",
        hash,
    ] {
        let mut world = retrying(4, &format!("{{loadBalancer: {balancer}}}"));
        let call = world.from("shop", "client", "http://a/");
        let mut call = call.header("x-user", "me").begin();
        let unavailable = Outcome::response(StatusCode::SERVICE_UNAVAILABLE);
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            seen.insert(call.attempt(&mut world));
            call.ended(&mut world, &unavailable);
        }
        assert_eq!(seen.len(), 4, "{balancer}");
        // Every endpoint has been tried, so the fifth attempt uses one of them again.
        call.attempt(&mut world);
    }
}

#[test]
fn a_hashed_header_keeps_its_endpoint_and_gets_it_back() {
    for maglev in ["", ", maglev: {tableSize: 65537}"] {
        let mut world = policy(&format!(
            "{{loadBalancer: {{consistentHash: {{httpHeaderName: x-user{maglev}}}}}}}"
        ));
        let place = |world: &mut World, user: usize| {
            let call = world.from("shop", "client", "http://a/");
            call.header("x-user", &format!("user-{user}"))
                .send()
                .sent()
                .pod()
                .to_owned()
        };
        let before: Vec<String> = (0..400).map(|user| place(&mut world, user)).collect();
        let used: BTreeSet<&String> = before.iter().collect();
        assert_eq!(used.len(), 4);
        world.set_ready("a-v1-1", false);
        for (user, pod) in before.iter().enumerate() {
            let now = place(&mut world, user);
            assert!(now == *pod || pod == "shop/a-v1-1", "{pod} moved to {now}");
        }
        world.set_ready("a-v1-1", true);
        let after: Vec<String> = (0..400).map(|user| place(&mut world, user)).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn scaling_moves_only_the_keys_of_added_and_removed_endpoints() {
    let mut world = policy("{loadBalancer: {consistentHash: {httpQueryParameterName: user}}}");
    let place = |world: &mut World, user: usize| {
        let url = format!("http://a/?user={user}");
        world
            .from("shop", "client", &url)
            .send()
            .sent()
            .pod()
            .to_owned()
    };
    let before: Vec<String> = (0..600).map(|user| place(&mut world, user)).collect();
    world.scale("shop", "a-v2", &[("app", "a"), ("version", "v2")], 3);
    for (user, pod) in before.iter().enumerate() {
        let now = place(&mut world, user);
        assert!(now == *pod || now == "shop/a-v2-2", "{pod} moved to {now}");
    }
    world.scale("shop", "a-v2", &[("app", "a"), ("version", "v2")], 1);
    for (user, pod) in before.iter().enumerate() {
        let now = place(&mut world, user);
        assert!(now == *pod || pod == "shop/a-v2-1", "{pod} moved to {now}");
    }
}

#[test]
fn a_cookie_with_a_ttl_is_set_if_it_is_missing() {
    let mut world = policy(
        "{loadBalancer: {consistentHash: {httpCookie: {name: user, path: /shop, ttl: 60s}}}}",
    );
    let first = world.from("shop", "client", "http://a/").send().sent();
    let cookie = first.response(None)["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        cookie.starts_with("user=\"") && cookie.ends_with("; Max-Age=60; Path=/shop; HttpOnly")
    );
    let value = cookie.split(';').next().expect("a pair").to_owned();
    for _ in 0..20 {
        let call = world.from("shop", "client", "http://a/");
        let again = call
            .header("cookie", &format!("x=y; {value}"))
            .send()
            .sent();
        assert_eq!(again.pod(), first.pod());
        assert!(again.response(None).is_empty());
    }
}

#[test]
fn a_cookie_without_a_ttl_is_read_and_never_set() {
    let mut world = policy("{loadBalancer: {consistentHash: {httpCookie: {name: user}}}}");
    let sent = world.from("shop", "client", "http://a/").send().sent();
    assert_eq!((sent.hash, sent.response(None).len()), (None, 0));
}

#[test]
fn a_hashed_source_address_keeps_its_endpoint() {
    let mut world = policy("{loadBalancer: {consistentHash: {useSourceIp: true}}}");
    let place = |world: &mut World, ip: &str| {
        world
            .from("shop", "client", "http://a/")
            .source_ip(ip)
            .send()
            .sent()
            .pod()
            .to_owned()
    };
    let first = place(&mut world, "10.0.0.7");
    assert!((0..20).all(|_| place(&mut world, "10.0.0.7") == first));
}

#[test]
fn an_endpoint_that_has_just_become_ready_warms_up() {
    let mut world = policy("{loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 100s}}}");
    world.set_ready("a-v1-0", false);
    spread(&mut world, 10);
    world.advance(Duration::from_secs(1000));
    world.set_ready("a-v1-0", true);
    let cold = spread(&mut world, 3100)["shop/a-v1-0"];
    assert!(
        (80..130).contains(&cold),
        "{cold} of 3100 at a tenth of the weight"
    );
    world.advance(Duration::from_secs(50));
    let warmer = spread(&mut world, 3500)["shop/a-v1-0"];
    assert!(
        (450..550).contains(&warmer),
        "{warmer} of 3500 at half of the weight"
    );
    world.advance(Duration::from_secs(50));
    assert_eq!(spread(&mut world, 4000)["shop/a-v1-0"], 1000);
}

#[test]
fn subsets_select_by_labels_and_an_empty_subset_is_503_uh() {
    let yaml = services(&[("shop", "a")])
        + &destination_rule(
            "shop",
            "rule",
            "  host: a\n  subsets: [{name: v2, labels: {version: v2}}, {name: v9, labels: {version: v9}}]",
        )
        + &virtual_service(
            "shop",
            "vs",
            "  hosts: [a]
  http:
    - match: [{uri: {prefix: /v9}}]
      route: [{destination: {host: a, subset: v9}}]
    - route: [{destination: {host: a, subset: v2}}]",
        );
    let mut world = World::new(&yaml)
        .pods("shop", "a-v1", &[("app", "a"), ("version", "v1")], 1)
        .pods("shop", "a-v2", &[("app", "a"), ("version", "v2")], 1)
        .pods("shop", "client", &[], 1);
    for _ in 0..20 {
        assert_eq!(
            world
                .from("shop", "client", "http://a/")
                .send()
                .sent()
                .pod(),
            "shop/a-v2-0"
        );
    }
    assert_eq!(
        world.from("shop", "client", "http://a/v9").send().summary(),
        "503 UH"
    );
}

/// The policy of the cluster of a call to `url`.
fn retry_limit(world: &mut World, url: &str) -> (u64, &'static str) {
    let sent = world.from("shop", "client", url).send().sent();
    (
        sent.forward.cluster.connect_timeout.as_secs(),
        sent.forward.cluster.load_balancer(),
    )
}

#[test]
fn the_policy_of_a_subset_overrides_blocks_and_that_of_a_port_everything() {
    let rule = "  host: a
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {connectTimeout: 3s}}
    portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}]
  subsets:
    - {name: s, labels: {app: a}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}";
    let service = "apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: http-b, port: 81}]}
---
";
    let vs = "  hosts: [a]
  http:
    - match: [{uri: {prefix: /s}}]
      route: [{destination: {host: a, subset: s}}]
    - route: [{destination: {host: a}}]";
    let yaml = service.to_owned()
        + &destination_rule("shop", "rule", rule)
        + &virtual_service("shop", "vs", vs);
    let mut world = World::new(&yaml)
        .pods("shop", "a", &[("app", "a")], 1)
        .pods("shop", "client", &[], 1);
    assert_eq!(retry_limit(&mut world, "http://a/"), (3, "RANDOM"));
    assert_eq!(retry_limit(&mut world, "http://a/s"), (3, "ROUND_ROBIN"));
    // A block that the port does not set has Istio's default, not the value of the
    // destination.
    assert_eq!(retry_limit(&mut world, "http://a:81/"), (10, "ROUND_ROBIN"));
}

#[test]
fn two_rules_for_a_host_in_one_namespace_are_merged() {
    let yaml = services(&[("shop", "a")])
        + &destination_rule(
            "shop",
            "one",
            "  host: a\n  subsets: [{name: s, labels: {version: v1}}]",
        )
        + &destination_rule(
            "shop",
            "two",
            "  host: a.shop.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: s, labels: {version: v2}}, {name: t, labels: {version: v2}}]",
        )
        + &virtual_service(
            "shop",
            "vs",
            "  hosts: [a]
  http:
    - match: [{uri: {prefix: /t}}]
      route: [{destination: {host: a, subset: t}}]
    - route: [{destination: {host: a, subset: s}}]",
        );
    let mut world = World::new(&yaml)
        .pods("shop", "a-v1", &[("app", "a"), ("version", "v1")], 1)
        .pods("shop", "a-v2", &[("app", "a"), ("version", "v2")], 1)
        .pods("shop", "client", &[], 1);
    let sent = world.from("shop", "client", "http://a/").send().sent();
    assert_eq!(
        (sent.pod(), sent.forward.cluster.load_balancer()),
        ("shop/a-v1-0", "RANDOM")
    );
    let sent = world.from("shop", "client", "http://a/t").send().sent();
    assert_eq!(sent.pod(), "shop/a-v2-0");
}

#[test]
fn limits_are_kept_per_caller() {
    let mut world = policy("{connectionPool: {http: {http2MaxRequests: 1}}}");
    let forward = world
        .from("shop", "client", "http://a/")
        .send()
        .sent()
        .forward;
    let other = world
        .from("shop", "other", "http://a/")
        .send()
        .sent()
        .forward;
    let permit = forward
        .cluster
        .acquire(forward.caller)
        .expect("room for one");
    let refused = forward
        .cluster
        .acquire(forward.caller)
        .expect_err("no room for two");
    assert_eq!(
        (refused.status.as_u16(), refused.flags.to_string().as_str()),
        (503, "UO")
    );
    assert!(
        refused
            .headers
            .iter()
            .any(|(name, _)| name == "x-envoy-overloaded")
    );
    assert!(other.cluster.acquire(other.caller).is_ok());
    drop(permit);
}

#[test]
fn limits_and_ejections_outlive_a_reload() {
    let mut world = policy("{outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 50}}");
    let sent = world.from("shop", "client", "http://a/").send().sent();
    let ejected = sent.pod().to_owned();
    assert!(
        sent.picked
            .record(&Outcome::response(StatusCode::BAD_GATEWAY), world.now)
            .is_some()
    );
    drop(sent);
    world.scale("shop", "unrelated", &[], 1);
    assert!(!spread(&mut world, 100).contains_key(&ejected));
}

fn fail(
    world: &mut World,
    pod: &str,
    outcome: &Outcome,
    times: usize,
) -> Option<galleria_mesh::Ejection> {
    let mut ejection = None;
    let mut failed = 0;
    for calls in 0.. {
        if failed == times {
            break;
        }
        assert!(calls < 10_000, "{pod} gets nothing");
        let sent = world.from("shop", "client", "http://a/").send().sent();
        if sent.pod() == pod {
            ejection = ejection.or(sent.picked.record(outcome, world.now));
            failed += 1;
        }
    }
    ejection
}

const OUTLIER: &str = "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3, \
                       interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 50}}";

#[test]
fn an_endpoint_is_ejected_on_its_nth_consecutive_failure_and_returns() {
    let mut world = policy(OUTLIER);
    let error = Outcome::response(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(fail(&mut world, "shop/a-v1-0", &error, 2), None);
    fail(
        &mut world,
        "shop/a-v1-0",
        &Outcome::response(StatusCode::OK),
        1,
    );
    assert_eq!(fail(&mut world, "shop/a-v1-0", &error, 2), None);
    let ejection = fail(&mut world, "shop/a-v1-0", &error, 1).expect("the third in a row");
    assert_eq!((ejection.reason, ejection.times), ("consecutive_5xx", 1));
    assert!(!spread(&mut world, 40).contains_key("shop/a-v1-0"));
    world.advance(Duration::from_secs(29));
    assert!(!spread(&mut world, 40).contains_key("shop/a-v1-0"));
    world.advance(Duration::from_secs(11));
    assert!(spread(&mut world, 40).contains_key("shop/a-v1-0"));
}

#[test]
fn repeated_ejections_get_longer_and_healthy_intervals_make_them_shorter() {
    let mut world = policy(OUTLIER);
    let error = Outcome::failure(Failure::Termination);
    for times in 1..=3_u32 {
        let ejection = fail(&mut world, "shop/a-v1-0", &error, 3).expect("ejected");
        assert_eq!(ejection.times, times);
        assert!(ejection.duration >= Duration::from_secs(30) * times);
        assert!(ejection.duration < Duration::from_secs(30) * times + Duration::from_secs(10));
        world.advance(ejection.duration);
        fail(
            &mut world,
            "shop/a-v1-0",
            &Outcome::response(StatusCode::OK),
            1,
        );
    }
    // Two healthy intervals reduce the multiplier by two.
    world.advance(Duration::from_secs(20));
    assert_eq!(
        fail(&mut world, "shop/a-v1-0", &error, 3)
            .expect("ejected")
            .times,
        2
    );
}

#[test]
fn at_most_max_ejection_percent_are_ejected() {
    let mut world = policy(OUTLIER);
    let error = Outcome::failure(Failure::ConnectFailure);
    assert!(fail(&mut world, "shop/a-v1-0", &error, 3).is_some());
    assert!(fail(&mut world, "shop/a-v1-1", &error, 3).is_some());
    assert!(fail(&mut world, "shop/a-v2-0", &error, 10).is_none());
    assert_eq!(spread(&mut world, 40).len(), 2);
}

#[test]
fn ten_percent_of_four_endpoints_ejects_none() {
    let mut world = policy(
        "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 1}}",
    );
    let error = Outcome::response(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fail(&mut world, "shop/a-v1-0", &error, 5), None);
}

#[test]
fn outlier_detection_that_can_eject_nothing_is_reported() {
    let noted = policy("{outlierDetection: {consecutive5xxErrors: 1}}").diagnostics;
    assert_eq!(noted.len(), 1, "{noted:?}");
    let text = "maxEjectionPercent 10 of 4 endpoints is less than one; 25 or more would allow ejecting one";
    assert!(noted[0].contains(text), "{noted:?}");
    assert!(
        policy("{outlierDetection: {maxEjectionPercent: 25}}")
            .diagnostics
            .is_empty()
    );
}

#[test]
fn if_all_endpoints_are_ejected_the_reply_is_503_uh() {
    let mut world = policy(
        "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}}",
    );
    let error = Outcome::failure(Failure::Timeout);
    for pod in ["shop/a-v1-0", "shop/a-v1-1", "shop/a-v2-0", "shop/a-v2-1"] {
        assert!(fail(&mut world, pod, &error, 1).is_some());
    }
    assert_eq!(
        world.from("shop", "client", "http://a/").send().summary(),
        "503 UH"
    );
    // Ejections are per caller.
    world.from("shop", "other", "http://a/").send().sent();
}

#[test]
fn below_min_health_percent_ejections_are_ignored() {
    let mut world = policy(
        "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 1, \
         maxEjectionPercent: 100, minHealthPercent: 50}}",
    );
    let error = Outcome::response(StatusCode::BAD_GATEWAY);
    for pod in ["shop/a-v1-0", "shop/a-v1-1"] {
        fail(&mut world, pod, &error, 1);
    }
    assert_eq!(spread(&mut world, 40).len(), 2);
    fail(&mut world, "shop/a-v2-0", &error, 1);
    assert_eq!(spread(&mut world, 40).len(), 4);
}

#[test]
fn the_deprecated_consecutive_errors_counts_gateway_errors_only() {
    let mut world = policy(
        "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutiveErrors: 2, maxEjectionPercent: 100}}",
    );
    let internal = Outcome::response(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(fail(&mut world, "shop/a-v1-0", &internal, 10), None);
    let gateway = Outcome::response(StatusCode::BAD_GATEWAY);
    let ejection = fail(&mut world, "shop/a-v1-0", &gateway, 2).expect("ejected");
    assert_eq!(ejection.reason, "consecutive_gateway_failure");
}

#[test]
fn without_outlier_detection_nothing_is_ejected() {
    let mut world = world("");
    let error = Outcome::response(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(fail(&mut world, "shop/a-v1-0", &error, 50), None);
}

fn entry(spec: &str) -> World {
    World::new(&istio("ServiceEntry", "shop", "entry", spec)).pods("shop", "client", &[], 1)
}

fn target(world: &mut World, url: &str) -> Target {
    world
        .from("shop", "client", url)
        .send()
        .sent()
        .endpoint()
        .target
        .clone()
}

fn remote(host: &str, port: u16) -> Target {
    Target::Remote {
        host: host.into(),
        port,
    }
}

#[test]
fn a_service_entry_resolved_by_dns_goes_to_its_host() {
    let mut world = entry(
        "  hosts: [api.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: DNS",
    );
    assert_eq!(
        target(&mut world, "https://api.example.com/"),
        remote("api.example.com", 443)
    );
    assert_eq!(
        target(&mut world, "http://API.example.com/"),
        remote("api.example.com", 8080)
    );
    let reply = world
        .from("shop", "client", "http://api.example.com:8443/")
        .send()
        .reply();
    assert!(
        reply
            .details
            .contains("has no port 8443; its ports: 443, 80"),
        "{}",
        reply.details
    );
}

#[test]
fn endpoints_of_a_service_entry_have_named_ports_weights_and_labels() {
    let yaml = istio(
        "ServiceEntry",
        "shop",
        "entry",
        "  hosts: [db.example.com]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
    - {address: 10.0.0.1, ports: {http: 8080}, weight: 9, labels: {zone: a}}
    - {address: 10.0.0.2, labels: {zone: b}}",
    ) + &destination_rule(
        "shop",
        "rule",
        "  host: db.example.com\n  subsets: [{name: b, labels: {zone: b}}]",
    ) + &virtual_service(
        "shop",
        "vs",
        "  hosts: [db.example.com]
  http:
    - match: [{uri: {prefix: /b}}]
      route: [{destination: {host: db.example.com, subset: b}}]
    - route: [{destination: {host: db.example.com}}]",
    );
    let mut world = World::new(&yaml).pods("shop", "client", &[], 1);
    let heavy = (0..2000)
        .filter(|_| target(&mut world, "http://db.example.com/") == remote("10.0.0.1", 8080))
        .count();
    assert!(heavy > 1600, "{heavy} of 2000");
    assert_eq!(
        target(&mut world, "http://db.example.com/b"),
        remote("10.0.0.2", 80)
    );
}

#[test]
fn a_wildcard_service_entry_forwards_to_the_requested_host() {
    let mut world = entry(
        "  hosts: ['*.example.com']\n  ports: [{number: 443, name: https, protocol: HTTPS}]\n  resolution: NONE",
    );
    assert_eq!(
        target(&mut world, "https://a.example.com/"),
        Target::Requested
    );
    assert_eq!(
        world
            .from("shop", "client", "https://example.com/")
            .send()
            .summary(),
        "502 -"
    );
}

#[test]
fn the_service_entry_of_the_shop_is_served() {
    let mut world = entry(
        "  hosts: [foo.bar.com]
  location: MESH_EXTERNAL
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
  endpoints:
    - {address: us.foo.bar.com, ports: {https: 8080}}
    - {address: uk.foo.bar.com, ports: {https: 9080}}
    - {address: in.foo.bar.com, ports: {https: 7080}}",
    );
    // The endpoints name a port that the entry does not have, so the entry's port applies.
    let targets: BTreeSet<String> = (0..60)
        .map(|_| {
            world
                .from("shop", "client", "http://foo.bar.com/")
                .send()
                .sent()
                .pod()
                .to_owned()
        })
        .collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    assert_eq!(
        targets,
        [
            "in.foo.bar.com:80",
            "uk.foo.bar.com:80",
            "us.foo.bar.com:80"
        ]
    );
}

#[test]
fn an_external_name_refers_to_a_service_or_to_a_host_outside() {
    let external = |name: &str, target: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{type: ExternalName, externalName: {target}, ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let yaml = services(&[("other", "b")])
        + &external("inside", "b.other.svc.cluster.local")
        + &external("outside", "api.example.com");
    let mut world = World::new(&yaml)
        .pods("other", "b", &[("app", "b")], 1)
        .pods("shop", "client", &[], 1);
    assert_eq!(
        world
            .from("shop", "client", "http://inside/")
            .send()
            .sent()
            .pod(),
        "other/b-0"
    );
    assert_eq!(
        target(&mut world, "http://outside/"),
        remote("api.example.com", 80)
    );
}

#[test]
fn tls_origination_comes_from_the_destination_rule() {
    let yaml = istio(
        "ServiceEntry",
        "shop",
        "entry",
        "  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 443}]
  resolution: DNS",
    ) + &destination_rule(
        "shop",
        "rule",
        "  host: api.example.com\n  trafficPolicy: {tls: {mode: SIMPLE, sni: api.example.com}}",
    );
    let mut world = World::new(&yaml).pods("shop", "client", &[], 1);
    let cluster = world
        .from("shop", "client", "http://api.example.com/")
        .send()
        .sent()
        .forward
        .cluster;
    assert_eq!(
        cluster.tls.as_ref().map(|tls| tls.mode),
        Some(ClientTlsMode::Simple)
    );
    assert!(cluster.external);
}

#[test]
fn the_edge_has_its_own_key() {
    let mut world = world("");
    let sent = world.from("shop", "client", "http://a/").send().sent();
    assert_ne!(sent.caller(), CallerKey::EDGE);
}
