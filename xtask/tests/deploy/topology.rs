//! One container per workload, on a network where each has the same name as in a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Container, Network, Run, eventually, image, smoke};

const SHOP: [&str; 6] = [
    "ui-v1",
    "ui-v2",
    "productms-v1",
    "productms-v2",
    "productreviewms-v1",
    "productreviewms-v2",
];

/// The shop in one container per workload.
struct ContainerPerWorkload {
    workloads: BTreeMap<&'static str, Container>,
    gateway: Container,
    /// Containers that have been replaced and stopped.
    replaced: Vec<Container>,
    network: Hosts,
}

impl ContainerPerWorkload {
    fn start() -> Self {
        let network = Hosts(Network::create());
        let workloads = SHOP.map(|workload| (workload, network.workload(workload)));
        let gateway = network.run().option(format!("--network-alias={GATEWAY}"));
        let gateway = gateway.argument("--gateway").start();
        let ready = |(workload, host): (_, Container)| (workload, host.ready());
        let apart = Self {
            workloads: workloads.into_iter().map(ready).collect(),
            gateway: gateway.ready(),
            replaced: Vec::new(),
            network,
        };
        // The first host tried to resolve names that did not exist yet.
        for workload in SHOP {
            apart.wait_until_found(workload, 1);
        }
        apart
    }

    /// Waits until every host has found `pods` pods of `workload`, except the hosts that
    /// run it.
    fn wait_until_found(&self, workload: &str, pods: u64) {
        let others = self.workloads.iter().filter(|(it, _)| **it != workload);
        for host in others.map(|(_, host)| host).chain([&self.gateway]) {
            eventually("the pods are found", || {
                (found(host, workload) == pods).then_some(())
            });
        }
    }

    /// The failed calls in all logs.
    fn failed_calls(&self) -> String {
        let hosts = self.workloads.values().chain(&self.replaced);
        let calls = hosts.chain([&self.gateway]).flat_map(Container::calls);
        let failed = calls.filter(|call| !matches!(call["response_code"].as_u64(), Some(200..500)));
        failed.map(|call| format!("{call}\n")).collect()
    }
}

/// How many pods of `workload` a host has found on other hosts, according to its log.
fn found(host: &Container, workload: &str) -> u64 {
    let logs = host.logs();
    let lines = logs.lines().filter(|line| line.contains("found the pods"));
    let said = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last = said.filter(|said| said["workload"] == workload).last();
    last.and_then(|last| last["pods"].as_u64()).unwrap_or(0)
}

/// The name of the gateway on the network.
const GATEWAY: &str = "gateway.shoppingportal.svc.cluster.local";

/// The hosts' network.
struct Hosts(Network);

impl Hosts {
    fn run(&self) -> Run {
        let run = Run::of(image()).option(format!("--network={}", self.0.name()));
        run.argument("run").argument("/etc/galleria/shop")
    }

    /// A pod of `workload` that is not ready yet.
    fn workload(&self, workload: &str) -> Container {
        let name = format!("{workload}.shoppingportal.svc.cluster.local");
        let run = self.run().option(format!("--network-alias={name}"));
        let run = run.argument("--workload").argument(workload);
        run.argument("--trusted-peer").argument(GATEWAY).start()
    }
}

#[test]
fn shop_in_one_container_per_workload_behaves_the_same_and_has_one_trace() {
    let apart = ContainerPerWorkload::start();

    let page = apart.gateway.get("/ui/product/1");
    assert_eq!(page.status, 200, "{}", page.body);
    let product = apart.gateway.get("/productms/product/catalogue/1").json();
    assert_eq!(product["version"], "Product v1 > Product Review");

    let asked = eventually("the gateway's line", || {
        let mut calls = apart.gateway.calls().into_iter();
        calls.find(|call| call["path"] == "/ui/product/1")
    });
    let trace = &asked["trace_id"];
    assert!(trace.is_string(), "{asked}");
    let of_trace = |workload: &str| {
        let calls = apart.workloads[workload].calls();
        calls.iter().any(|call| call["trace_id"] == *trace)
    };
    eventually(
        "storefront, product and review service have logged calls",
        || {
            let reviews = of_trace("productreviewms-v1") || of_trace("productreviewms-v2");
            (of_trace("ui-v1") && of_trace("productms-v1") && reviews).then_some(())
        },
    );
    assert!(!of_trace("ui-v2"));
}

#[test]
fn replacing_containers_under_load_fails_no_request() {
    let mut apart = ContainerPerWorkload::start();
    let shop = apart.gateway.gateway();
    let done = AtomicBool::new(false);
    let runs = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let visitors: [_; 2] = std::array::from_fn(|_| scope.spawn(|| visit(shop, &done, &runs)));
        let ending = Ending(&done);
        let no_fault = |apart: &ContainerPerWorkload| {
            let failed = visitors.iter().any(|it| it.is_finished());
            assert!(!failed, "k6 failed:\n{}", apart.failed_calls());
        };
        for workload in ["ui-v1", "productms-v1", "productreviewms-v1"] {
            let next = apart.network.workload(workload).ready();
            apart.wait_until_found(workload, 2);
            no_fault(&apart);
            let before = apart.workloads.insert(workload, next).expect("a container");
            assert_eq!(before.stop(), "0", "{}", before.logs());
            apart.replaced.push(before);
            apart.wait_until_found(workload, 1);
            no_fault(&apart);
            assert!(!apart.workloads[workload].calls().is_empty(), "it serves");
        }
        let before = runs.load(Ordering::Relaxed);
        eventually("four more runs of k6 have passed", || {
            no_fault(&apart);
            (runs.load(Ordering::Relaxed) >= before + 4).then_some(())
        });
        drop(ending);
    });
}

/// Runs k6 repeatedly until `done`; each run must pass.
fn visit(shop: SocketAddr, done: &AtomicBool, runs: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) {
        smoke(shop, 100);
        runs.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the load, also if the test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
