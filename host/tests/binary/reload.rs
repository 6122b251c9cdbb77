//! Changes of the manifests while the host runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

/// Two versions of one service, split by weight.
fn split(stable: u32, canary: u32) -> String {
    let services = [
        Service::new("stable", "hello").annotation("galleria.dev/isolation", "instance"),
        Service::new("canary", "status").annotation("galleria.dev/isolation", "instance"),
    ];
    manifests(&services).replace(
        "  http:\n",
        &format!(
            "  http:
    - match: [{{uri: {{prefix: /split}}}}]
      route:
        - {{destination: {{host: stable}}, weight: {stable}}}
        - {{destination: {{host: canary}}, weight: {canary}}}
"
        ),
    )
}

struct HostAndFile {
    host: Host,
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
}

fn start(manifest: &str) -> HostAndFile {
    start_with(manifest, &[])
}

/// As [`start`], with these flags.
fn start_with(manifest: &str, flags: &[&str]) -> HostAndFile {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifest).expect("a file");
    let host = Galleria::run(folder.path()).arguments(flags).start();
    HostAndFile {
        host,
        _folder: folder,
        file,
    }
}

impl HostAndFile {
    fn write(&self, manifest: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, manifest).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
    }
}

fn is_stable(host: &Host) -> bool {
    let answer = host.get("/split");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body == "hello\n"
}

#[test]
fn ten_thousand_requests_are_split_by_weight() {
    let shop = start(&split(80, 20));
    let stable = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_250 {
                    stable.fetch_add(usize::from(is_stable(&shop.host)), Ordering::Relaxed);
                }
            });
        }
    });
    // Three standard deviations of 10,000 tries at 0.8 are 120.
    let stable = stable.into_inner();
    assert!(
        (7_880..=8_120).contains(&stable),
        "{stable} of 10,000 went to the stable version"
    );
}

#[test]
fn changed_weight_takes_effect_within_a_second_and_fails_no_request() {
    let shop = start(&split(100, 0));
    let done = AtomicBool::new(false);
    let stable = AtomicUsize::new(0);
    let all = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let answered = is_stable(&shop.host);
                    stable.fetch_add(usize::from(answered), Ordering::Relaxed);
                    all.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ending = SetOnDrop(&done);
        eventually("some load", || {
            (all.load(Ordering::Relaxed) > 100).then_some(())
        });
        assert_eq!(stable.load(Ordering::Relaxed), all.load(Ordering::Relaxed));

        shop.write(&split(0, 100));
        let changed = Instant::now();
        eventually("the canary answers", || {
            (!is_stable(&shop.host)).then_some(())
        });
        let took = changed.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        for _ in 0..50 {
            assert!(!is_stable(&shop.host));
        }
        drop(ending);
    });
    eventually("the reload is counted", || {
        (shop
            .host
            .metric("galleria_configuration_reloads_total", &["accepted"])
            >= 1.0)
            .then_some(())
    });
}

#[test]
fn invalid_file_is_reported_and_the_previous_configuration_stays_in_effect() {
    let shop = start_with(&split(100, 0), &["--strict"]);
    let line = split(100, 0)
        .lines()
        .position(|line| line.contains("host: canary"))
        .expect("it")
        + 1;
    shop.write(&split(100, 0).replace("host: canary}, weight: 0", "host: canray}, weight: 0"));
    eventually("the rejection is counted", || {
        (shop
            .host
            .metric("galleria_configuration_reloads_total", &["rejected"])
            >= 1.0)
            .then_some(())
    });
    assert!(is_stable(&shop.host));
    let log = shop.host.stderr();
    assert!(
        log.contains(&format!("test.yaml:{line}:")),
        "no position in:\n{log}"
    );
    assert!(log.contains("canary"), "no suggestion in:\n{log}");
    let page = shop.host.status_page(&[]);
    assert!(page.stdout.contains("canray"), "{}", page.stdout);

    shop.write(&split(0, 100));
    eventually("the corrected file takes effect", || {
        (!is_stable(&shop.host)).then_some(())
    });
    assert!(!shop.host.status_page(&[]).stdout.contains("canray"));
}

#[test]
fn changed_deployment_rolls_out_without_a_failed_request() {
    let version = |text: &str| manifests(&[Service::new("app", "env").env("VERSION", text)]);
    let shop = start(&version("one"));
    let read = || {
        shop.host.get("/app/").json()["VERSION"]
            .as_str()
            .expect("it")
            .to_owned()
    };
    assert_eq!(read(), "one");
    under_load(&shop.host, "/app/", || {
        shop.write(&version("two"));
        eventually("the new version answers", || {
            (read() == "two").then_some(())
        });
    });
    eventually("the old pod is gone from the metrics", || {
        (shop
            .host
            .metric("galleria_pod_ready", &["workload=\"app\""])
            == 1.0)
            .then_some(())
    });
}

/// Requests `path` continuously while `change` takes place; every response must be 200.
fn under_load(host: &Host, path: &str, change: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let answer = host.get(path);
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        });
        let _ending = SetOnDrop(&done);
        change();
    });
}

#[test]
fn delayed_request_is_served_by_the_pods_that_replaced_the_old_ones() {
    let version = |text: &str| {
        let app = Service::new("app", "env").env("VERSION", text);
        manifests(&[app]).replace(
            "  http:\n",
            "  http:
    - match: [{uri: {prefix: /slowly}}]
      fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}
      retries: {attempts: 0}
      route: [{destination: {host: app}}]
",
        )
    };
    let shop = start(&version("one"));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| shop.host.get("/slowly"));
        eventually("the request is in flight", || {
            (shop.host.metric("galleria_connections", &["port=\"80\""]) >= 1.0).then_some(())
        });
        shop.write(&version("two"));
        eventually("the new version answers", || {
            (shop.host.get("/app/").json()["VERSION"] == "two").then_some(())
        });
        let answer = slow.join().expect("it does not panic");
        assert_eq!(answer.status, 200, "{}", answer.body);
    });
}

#[test]
fn removing_a_service_with_its_route_fails_no_request() {
    let both = split(0, 100);
    let only = manifests(&[
        Service::new("stable", "hello").annotation("galleria.dev/isolation", "instance")
    ])
    .replace(
        "  http:\n",
        "  http:
    - match: [{uri: {prefix: /split}}]
      route: [{destination: {host: stable}}]
",
    );
    let shop = start(&both);
    under_load(&shop.host, "/split", || {
        shop.write(&only);
        eventually("the other service answers", || {
            is_stable(&shop.host).then_some(())
        });
    });
}

#[test]
fn changed_replicas_scale_the_deployment() {
    let scaled = |replicas| manifests(&[Service::new("app", "hello").replicas(replicas)]);
    let shop = start(&scaled(1));
    for replicas in [3, 1] {
        shop.write(&scaled(replicas));
        eventually("as many pods are ready", || {
            let ready = shop
                .host
                .metric("galleria_pod_ready", &["workload=\"app\""]);
            (ready == f64::from(replicas)).then_some(())
        });
        assert_eq!(shop.host.get("/app/").status, 200);
    }
}
