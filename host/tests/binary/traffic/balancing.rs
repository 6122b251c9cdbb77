//! Which of several pods gets a request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Shop, destination_rule, flags, with_rules};
use crate::support::{Service, SetOnDrop, eventually};

/// The pods that received the calls of `path`.
fn pods(shop: &Shop, path: &str, count: usize) -> BTreeSet<String> {
    let calls = shop.calls(path, count);
    let hosts = calls
        .iter()
        .filter_map(|call| call["upstream_host"].as_str());
    hosts.map(str::to_owned).collect()
}

#[test]
fn scaling_changes_the_endpoints_and_fails_no_request() {
    let replicas = |count| {
        let service = Service::new("app", "hello").replicas(count);
        let policy = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}";
        with_rules(&[service], "", &[destination_rule("app", policy)])
    };
    let shop = Shop::start_under_one_roof(&replicas(1), &[]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ending = SetOnDrop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(shop.host.get("/app/load").status, 200);
            }
        });
        for (round, count) in [1, 3, 1].into_iter().enumerate() {
            shop.write(&replicas(count));
            let path = format!("/app/round{round}");
            let expected = count as usize;
            let mut tried = 0;
            eventually("the expected number of pods respond", || {
                tried += 1;
                let path = format!("{path}/{tried}");
                for _ in 0..6 {
                    assert_eq!(shop.host.get(&path).status, 200);
                }
                (pods(&shop, &path, 6).len() == expected).then_some(())
            });
        }
        drop(ending);
    });
    assert!(shop.host.calls().iter().all(|call| flags(call) == "-"));
    shop.counted(&["response_code=\"5"], 0.0);
}

#[test]
fn consistent_hash_sends_equal_header_values_to_the_same_pod() {
    let policy = "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}";
    let service = Service::new("app", "hello").replicas(3);
    let shop = Shop::start(&with_rules(
        &[service],
        "",
        &[destination_rule("app", policy)],
    ));
    let users: Vec<String> = (0..12).map(|user| format!("user-{user}")).collect();
    let mut all = BTreeSet::new();
    for user in &users {
        let path = format!("/app/{user}");
        for _ in 0..5 {
            assert_eq!(shop.host.get_with(&path, &[("x-user", user)]).status, 200);
        }
        let asked = pods(&shop, &path, 5);
        assert_eq!(asked.len(), 1, "{user}: {asked:?}");
        all.extend(asked);
    }
    assert!(all.len() > 1, "all users are sent to {all:?}");
    shop.counted(&["response_code=\"200\""], 60.0);
}

#[test]
fn session_cookie_is_set_and_selects_the_same_pod() {
    let policy =
        "trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: basket, ttl: 60s}}}}";
    let service = Service::new("app", "hello").replicas(3);
    let shop = Shop::start(&with_rules(
        &[service],
        "",
        &[destination_rule("app", policy)],
    ));
    let first = shop.host.get("/app/basket");
    let cookie = first.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("basket=") && cookie.contains("Max-Age=60"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().expect("a pair");
    for _ in 0..10 {
        let answer = shop.host.get_with("/app/basket", &[("cookie", pair)]);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    assert_eq!(pods(&shop, "/app/basket", 11).len(), 1);
}
