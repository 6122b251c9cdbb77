//! Workloads in separate hosts: one mesh across several processes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::apart::{self, Pod};
use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

const SHOP: [&str; 6] = [
    "ui-v1",
    "ui-v2",
    "productms-v1",
    "productms-v2",
    "productreviewms-v1",
    "productreviewms-v2",
];

/// `host` with the addresses of the pods and the trusted peers.
fn with_peers(host: Galleria, pods: &[Pod]) -> Galleria {
    let peers: Vec<_> = pods.iter().map(Pod::peer).collect();
    host.arguments(&peers).argument(apart::CALLERS)
}

fn of_pod(host: Galleria, pod: &Pod) -> Galleria {
    host.declared_ports().arguments(&pod.arguments())
}

fn written(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    folder
}

#[test]
fn shop_with_a_host_for_each_workload_behaves_the_same_and_has_one_trace() {
    let pods = SHOP.map(Pod::of);
    let host = || with_peers(Galleria::shop(), &pods);
    let hosts = pods.each_ref().map(|pod| of_pod(host(), pod).start());
    let gateway = host().argument("--gateway").start();

    let page = gateway.get("/ui/product/1");
    assert_eq!(page.status, 200, "{}", page.body);
    let product = gateway.get("/productms/product/catalogue/1").json();
    assert_eq!(product["version"], "Product v1 > Product Review");
    let firefox = gateway.get_with("/ui", &[("user-agent", "Firefox/140.0")]);
    assert!(firefox.body.contains("Storefront v2"), "{}", firefox.body);

    let asked = gateway.call("the page", |call| call["path"] == "/ui/product/1");
    let trace = &asked["trace_id"];
    let took_part = |host: &Host| host.calls().iter().any(|call| call["trace_id"] == *trace);
    let workloads = eventually("four hosts have logged calls", || {
        let took_part = pods.iter().zip(&hosts).filter(|(_, host)| took_part(host));
        let workloads: BTreeSet<_> = took_part.map(|(pod, _)| pod.workload()).collect();
        (workloads.len() >= 3).then_some(workloads)
    });
    assert!(workloads.contains("ui-v1"), "{workloads:?}");
    assert!(workloads.contains("productms-v1"), "{workloads:?}");
    let sources: BTreeSet<_> = ["shoppingportal/ui-v1", "null"].map(String::from).into();
    eventually(
        "the destination knows who calls: the storefront and a client",
        || {
            let calls = hosts[2].calls();
            let seen = calls.iter().map(|call| match &call["source_workload"] {
                Value::String(workload) => workload.clone(),
                other => other.to_string(),
            });
            seen.collect::<BTreeSet<_>>()
                .is_superset(&sources)
                .then_some(())
        },
    );
    let reported = |host: &Host, reporter: &str| {
        let reporter = format!("reporter=\"{reporter}\"");
        let workload = "destination_workload=\"productms-v1\"";
        host.metric("istio_requests_total", &[&reporter, workload])
    };
    assert_eq!(reported(&gateway, "source"), 1.0);
    assert_eq!(reported(&gateway, "destination"), 0.0);
    eventually("both calls are counted by their destination", || {
        (reported(&hosts[2], "destination") >= 2.0).then_some(())
    });
}

#[test]
fn hosts_are_replaced_under_load_and_no_request_fails() {
    let folder = written(&manifests(&[Service::new("app", "hello").replicas(2)]));
    let pods = ["app", "app"].map(Pod::of);
    let host = || with_peers(Galleria::run(folder.path()), &pods);
    let mut hosts = pods.each_ref().map(|pod| of_pod(host(), pod).start());
    let gateway = host().argument("--gateway").start();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = || {
        let before = answered.load(Ordering::Relaxed);
        eventually("200 more requests", || {
            (answered.load(Ordering::Relaxed) >= before + 200).then_some(())
        });
    };
    std::thread::scope(|scope| {
        let ending = SetOnDrop(&done);
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let answer = gateway.get("/app/");
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for (host_of_pod, pod) in hosts.iter_mut().zip(&pods) {
            more();
            host_of_pod.terminate();
            assert!(host_of_pod.wait().success());
            more();
            *host_of_pod = of_pod(host(), pod).start();
        }
        more();
        drop(ending);
    });
    for host in &hosts {
        let served = host.metric("istio_requests_total", &["reporter=\"destination\""]);
        assert!(served > 0.0, "a restarted host serves again");
    }
}

#[test]
fn pod_that_is_not_ready_refuses_and_the_caller_tries_another() {
    let service = |probe| {
        let service = Service::new("app", "hello").rollout("strategy: {type: Recreate}");
        match probe {
            Some(probe) => service.probe("readinessProbe", probe),
            None => service,
        }
    };
    let folder = written(&manifests(&[service(None)]));
    let changed = written(&manifests(&[service(None)]));
    let pods = ["app", "app"].map(Pod::of);
    let _good = of_pod(with_peers(Galleria::run(folder.path()), &pods), &pods[0]).start();
    let never = of_pod(with_peers(Galleria::run(changed.path()), &pods), &pods[1]).start();
    let gateway = with_peers(Galleria::run(folder.path()), &pods)
        .argument("--gateway")
        .start();
    let probe = "{httpGet: {port: 8080, path: /}, initialDelaySeconds: 3600}";
    let file = changed.path().join("test.yaml");
    std::fs::write(file, manifests(&[service(Some(probe))])).expect("a file");
    eventually("a new pod that is not ready has replaced its pod", || {
        (never.status("/healthz/ready").status == 503).then_some(())
    });

    let refused = || {
        never
            .calls()
            .iter()
            .any(|call| call["response_flags"] == "UH")
    };
    eventually("that host refuses a request", || {
        let answer = gateway.get("/app/");
        assert_eq!(answer.status, 200, "{}", answer.body);
        refused().then_some(())
    });
}

#[test]
fn headers_between_hosts_are_ignored_from_clients_and_hidden_from_guests() {
    let folder = written(&manifests(&[Service::new("app", "echo")]));
    let pods = ["app"].map(Pod::of);
    let host = || with_peers(Galleria::run(folder.path()), &pods);
    let _pod = of_pod(host(), &pods[0]).start();
    let gateway = host().argument("--gateway").start();
    let forged = [
        ("x-galleria-hops", "4000000"),
        ("x-galleria-source", "workload test/app default"),
    ];
    let answer = gateway.get_with("/app/", &forged);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("x-galleria"), "{}", answer.body);
    assert!(answer.body.contains("x-forwarded-for"), "{}", answer.body);
}

#[test]
fn workload_without_an_address_gets_503_and_the_log_says_what_to_do() {
    let folder = written(&manifests(&[Service::new("app", "hello")]));
    let host = Galleria::run(folder.path()).argument("--gateway");
    let gateway = host.argument("--peer=app=nowhere.invalid").start();
    assert_eq!(gateway.get("/app/").status, 503);
    let call = gateway.call("the call", |call| call["response_code"] == 503);
    assert_eq!(call["response_flags"], "UH");
    assert!(
        gateway.stderr().contains("--peer app=HOST"),
        "{}",
        gateway.stderr()
    );
}

#[test]
fn message_about_an_unknown_workload_lists_the_known_ones() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    let output = Galleria::run(shop).argument("--workload=ui-v3").fail();
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("--workload ui-v3"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("shoppingportal/ui-v2"),
        "{}",
        output.stderr
    );
}

#[test]
fn workloads_with_the_same_port_are_refused_in_one_host() {
    let services = [Service::new("app", "hello"), Service::new("other", "hello")];
    let folder = written(&manifests(&services));
    let host = Galleria::run(folder.path()).declared_ports();
    let output = host.argument("--workload=app,other").fail();
    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr
            .contains("port 8080 is used by both test/app and test/other"),
        "{}",
        output.stderr
    );
}
