//! Mirroring: a shadow receives copies of the traffic, and callers do not notice it.

use std::time::{Duration, Instant};

use super::{Shop, flags, with_rules};
use crate::support::{Service, eventually};

/// `app` serves requests; `shadow` runs the guest `image` and receives copies of
/// `percent` of them.
fn mirrored(image: &'static str, percent: &str) -> Shop {
    let rules = format!(
        "    - match: [{{uri: {{prefix: /app}}}}]
      rewrite: {{uri: /}}
      route: [{{destination: {{host: app}}}}]
      mirror: {{host: shadow}}
      mirrorPercentage: {{value: {percent}}}
"
    );
    let services = [Service::new("app", "hello"), Service::new("shadow", image)];
    Shop::start(&with_rules(&services, &rules, &[]))
}

#[test]
fn shadow_receives_all_traffic_and_its_failures_do_not_reach_callers() {
    let shop = mirrored("status", "100");
    for _ in 0..10 {
        let answer = shop.host.get("/app?code=500");
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    }
    shop.counted(
        &["destination_workload=\"shadow\"", "response_code=\"500\""],
        10.0,
    );
    shop.counted(
        &["destination_workload=\"app\"", "response_code=\"200\""],
        10.0,
    );
    let of = |workload: &str| {
        eventually("the access log has ten lines of each", || {
            let calls = shop.host.calls().into_iter();
            let of_it: Vec<_> = calls
                .filter(|call| call["destination_workload"] == workload)
                .collect();
            (of_it.len() == 10).then_some(of_it)
        })
    };
    assert!(of("test/app").iter().all(|call| flags(call) == "-"));
    let shadow = of("test/shadow");
    assert!(shadow.iter().all(|call| call["route_name"] == "mirror"));
}

#[test]
fn slow_shadow_does_not_delay_callers() {
    let shop = mirrored("slow", "100");
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(shop.host.get("/app?ms=2000").status, 200);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    shop.counted(
        &["destination_workload=\"shadow\"", "response_code=\"200\""],
        3.0,
    );
}

#[test]
fn shadow_with_zero_percent_receives_nothing() {
    let shop = mirrored("hello", "0");
    for _ in 0..5 {
        assert_eq!(shop.host.get("/app").status, 200);
    }
    shop.counted(&["destination_workload=\"app\""], 5.0);
    shop.counted(&["destination_workload=\"shadow\""], 0.0);
}
