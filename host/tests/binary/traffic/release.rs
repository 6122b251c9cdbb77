//! Two versions of a service: which clients get which, and how traffic moves from one to
//! the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Shop, flags, subsets, two_versions, with_rules};
use crate::support::{SetOnDrop, eventually};

/// Requests that match `condition` go to v2, all others to v1.
fn chosen(condition: &str) -> Shop {
    let rules = format!(
        "    - name: chosen
      match: [{{uri: {{prefix: /app}}, headers: {{{condition}}}}}]
      route: [{{destination: {{host: app, subset: v2}}}}]
    - name: others
      match: [{{uri: {{prefix: /app}}}}]
      route: [{{destination: {{host: app, subset: v1}}}}]
"
    );
    Shop::start(&with_rules(&two_versions(), &rules, &[subsets()]))
}

/// Each of `cases` has headers and the version that they select.
fn shows(shop: &Shop, cases: &[(&[(&str, &str)], &str)]) {
    for (number, (headers, version)) in cases.iter().enumerate() {
        let path = format!("/app/{number}");
        assert_eq!(shop.version(&path, headers), *version, "{headers:?}");
        let call = &shop.calls(&path, 1)[0];
        assert_eq!(flags(call), "-");
        let cluster = format!("outbound|80|{version}|app.test.svc.cluster.local");
        assert_eq!(call["upstream_cluster"], cluster);
        let route = if *version == "v2" { "chosen" } else { "others" };
        assert_eq!(call["route_name"], route);
    }
    for version in ["v1", "v2"] {
        let expected = cases.iter().filter(|(_, to)| *to == version).count();
        let label = format!("destination_version=\"{version}\"");
        shop.counted(&[&label, "response_code=\"200\""], expected as f64);
    }
}

#[test]
fn a_b_test_by_header() {
    let shop = chosen("x-group: {exact: b}");
    shows(
        &shop,
        &[
            (&[("x-group", "b")], "v2"),
            (&[("X-Group", "b")], "v2"),
            (&[("x-group", "B")], "v1"),
            (&[("x-group", "bb")], "v1"),
            (&[], "v1"),
        ],
    );
}

#[test]
fn a_b_test_by_cookie() {
    let shop = chosen("cookie: {regex: '^(.*; ?)?group=b(;.*)?$'}");
    shows(
        &shop,
        &[
            (&[("cookie", "group=b")], "v2"),
            (&[("cookie", "theme=dark; group=b; lang=en")], "v2"),
            (&[("cookie", "group=bee")], "v1"),
            (&[("cookie", "subgroup=b")], "v1"),
            (&[], "v1"),
        ],
    );
}

#[test]
fn beta_for_one_user() {
    let shop = chosen("end-user: {exact: metamagic}");
    shows(
        &shop,
        &[
            (&[("end-user", "metamagic")], "v2"),
            (&[("end-user", "somebody")], "v1"),
            (&[], "v1"),
        ],
    );
}

fn split(v1: u32, v2: u32) -> String {
    let rules = format!(
        "    - match: [{{uri: {{prefix: /app}}}}]
      route:
        - {{destination: {{host: app, subset: v1}}, weight: {v1}}}
        - {{destination: {{host: app, subset: v2}}, weight: {v2}}}
"
    );
    with_rules(&two_versions(), &rules, &[subsets()])
}

#[test]
fn traffic_shifts_from_90_10_to_0_100_under_load_without_a_failed_request() {
    let shop = Shop::start(&split(90, 10));
    let done = AtomicBool::new(false);
    let (all, v2) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // The share of v2 among the next requests.
    let share = || {
        let before = (all.load(Ordering::Relaxed), v2.load(Ordering::Relaxed));
        eventually("400 more requests", || {
            (all.load(Ordering::Relaxed) >= before.0 + 400).then_some(())
        });
        let after = (all.load(Ordering::Relaxed), v2.load(Ordering::Relaxed));
        (after.1 - before.1) as f64 / (after.0 - before.0) as f64
    };
    std::thread::scope(|scope| {
        let ending = SetOnDrop(&done);
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let new = shop.version("/app", &[]) == "v2";
                    v2.fetch_add(usize::from(new), Ordering::Relaxed);
                    all.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Four standard deviations of 400 tries at 0.1 are 0.06, at 0.5 are 0.1.
        let first = share();
        assert!((0.04..0.16).contains(&first), "{first} of 90/10");
        shop.write(&split(50, 50));
        eventually("each version gets half of the requests", || {
            (0.4..0.6).contains(&share()).then_some(())
        });
        shop.write(&split(0, 100));
        eventually("only the new version responds", || {
            (share() == 1.0).then_some(())
        });
        drop(ending);
    });
    let failed = ["4", "5"].map(|class| format!("response_code=\"{class}"));
    for class in &failed {
        shop.counted(&[class], 0.0);
    }
    assert!(shop.host.calls().iter().all(|call| flags(call) == "-"));
}

#[test]
fn blue_green_switches_immediately_and_back() {
    let live = |version: &str| {
        let rules = format!(
            "    - match: [{{uri: {{prefix: /app}}}}]
      route: [{{destination: {{host: app, subset: {version}}}}}]
"
        );
        with_rules(&two_versions(), &rules, &[subsets()])
    };
    let (blue, green) = (live("v1"), live("v2"));
    let shop = Shop::start(&blue);
    assert_eq!(shop.version("/app", &[]), "v1");
    for (manifest, version) in [(&green, "v2"), (&blue, "v1")] {
        shop.write(manifest);
        eventually("the other colour responds", || {
            (shop.version("/app", &[]) == version).then_some(())
        });
        for _ in 0..20 {
            assert_eq!(shop.version("/app", &[]), version);
        }
    }
    assert!(shop.host.calls().iter().all(|call| flags(call) == "-"));
    shop.counted(&["response_code=\"5"], 0.0);
}
