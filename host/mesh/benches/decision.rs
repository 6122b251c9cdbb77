//! The time of a decision with 10, 1,000 and 10,000 routes.
//!
//! `cargo bench -p galleria-mesh`. Routes are found in different ways, so each kind has
//! its own benchmark: by exact path, by prefix, by regular expression, by the value of a
//! header, and by host. The request matches the route in the middle of the list. One more
//! benchmark has a path that no route matches. The same numbers of authorization rules
//! decide about a request that the one in the middle allows.

#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark brings its own clock and its own randomness"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use galleria_manifest::model::{ContainerPort, Labels};
use galleria_mesh::inbound::authorization::decide as decide_inbound;
use galleria_mesh::inbound::{InboundRequest, Peer};
use galleria_mesh::{
    Caller, Decision, Driver, Location, Options, Outcome, Pod, RequestHead, Snapshot, State, Step,
    Workload, compile,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::SmallRng;

const COUNTS: [usize; 3] = [10, 1_000, 10_000];
const BASE: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
";

/// One VirtualService with a rule for every number.
fn rules(count: usize, block: impl Fn(usize) -> String) -> String {
    let mut yaml = BASE.to_owned()
        + "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
";
    for number in 0..count {
        yaml += &format!(
            "  - {{match: [{}], route: [{{destination: {{host: a}}}}]}}\n",
            block(number)
        );
    }
    yaml
}

/// A VirtualService for every number, each with its own host.
fn hosts(count: usize) -> String {
    let mut yaml = BASE.to_owned();
    for number in 0..count {
        yaml += &format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs-{number}, namespace: shop}}
spec: {{hosts: [h-{number}.example], gateways: [gw], http: [{{route: [{{destination: {{host: a}}}}]}}]}}
"
        );
    }
    yaml
}

fn snapshot(yaml: &str) -> Snapshot {
    let loaded = galleria_manifest::read_str(Path::new("bench.yaml"), yaml);
    assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics.first());
    let labels = Labels::from([("app".to_owned(), "a".to_owned())]);
    let workload = Arc::new(Workload::new("shop", "a", "a", labels.clone()));
    let pods: Vec<Pod> = (0..3)
        .map(|number| Pod {
            name: format!("a-{number}"),
            workload: Arc::clone(&workload),
            labels: labels.clone(),
            ports: vec![ContainerPort {
                name: None,
                container_port: 80,
            }],
            ready: Arc::new(AtomicBool::new(true)),
            location: Location::Here(number),
        })
        .collect();
    compile(
        &loaded.objects,
        &pods,
        &Options::default(),
        &State::new(Instant::now()),
    )
    .snapshot
}

fn decide(
    criterion: &mut Criterion,
    kind: &str,
    yaml: impl Fn(usize) -> String,
    ask: impl Fn(usize) -> (String, String, HeaderMap),
) {
    let mut group = criterion.benchmark_group(kind);
    for count in COUNTS {
        let snapshot = snapshot(&yaml(count));
        let (authority, path, headers) = ask(count);
        let head = RequestHead {
            method: &Method::GET,
            scheme: "http",
            authority: &authority,
            path: &path,
            query: None,
            headers: &headers,
            source_ip: None,
        };
        let mut rng = SmallRng::seed_from_u64(1);
        let caller = Caller::Edge { listener_port: 80 };
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| black_box(snapshot.route(caller, black_box(&head), &mut rng)));
        });
    }
    group.finish();
}

fn host_and_path(path: String) -> (String, String, HeaderMap) {
    ("shop.example".into(), path, HeaderMap::new())
}

fn decisions(criterion: &mut Criterion) {
    let exact = |count| {
        rules(count, |number| {
            format!("{{uri: {{exact: /api/v1/item-{number}}}}}")
        })
    };
    let prefix = |count| {
        rules(count, |number| {
            format!("{{uri: {{prefix: /api/v1/item-{number}/}}}}")
        })
    };
    let regex = |count| {
        rules(count, |number| {
            format!("{{uri: {{regex: '/api/v1/item-{number}/[a-z]+'}}}}")
        })
    };
    let header = |count| {
        rules(count, |number| {
            format!("{{headers: {{end-user: {{exact: user-{number}}}}}}}")
        })
    };
    decide(criterion, "exact", exact, |count| {
        host_and_path(format!("/api/v1/item-{}", count / 2))
    });
    decide(criterion, "prefix", prefix, |count| {
        host_and_path(format!("/api/v1/item-{}/reviews", count / 2))
    });
    decide(criterion, "regex", regex, |count| {
        host_and_path(format!("/api/v1/item-{}/reviews", count / 2))
    });
    decide(criterion, "header", header, |count| {
        let mut headers = HeaderMap::new();
        let user = format!("user-{}", count / 2);
        headers.insert(
            "end-user",
            HeaderValue::from_str(&user).expect("a valid value"),
        );
        ("shop.example".into(), "/".into(), headers)
    });
    decide(criterion, "host", hosts, |count| {
        (
            format!("h-{}.example", count / 2),
            "/".into(),
            HeaderMap::new(),
        )
    });
    decide(criterion, "no route", prefix, |_| {
        host_and_path("/api/v1/nothing".into())
    });
}

/// All decisions of a call that succeeds at once.
fn whole_call(criterion: &mut Criterion) {
    let snapshot = snapshot(&rules(1_000, |number| {
        format!("{{uri: {{prefix: /item-{number}/}}}}")
    }));
    let (authority, path, headers) = host_and_path("/item-500/reviews".into());
    let head = RequestHead {
        method: &Method::GET,
        scheme: "http",
        authority: &authority,
        path: &path,
        query: None,
        headers: &headers,
        source_ip: None,
    };
    let mut rng = SmallRng::seed_from_u64(1);
    let now = Instant::now();
    let answer = Outcome::response(StatusCode::OK);
    criterion.bench_function("route, acquire, pick, record", |bencher| {
        bencher.iter(|| {
            let caller = Caller::Edge { listener_port: 80 };
            let Decision::Forward(forward) = snapshot.route(caller, &head, &mut rng) else {
                unreachable!("the rule is there")
            };
            let mut driver = Driver::new(&forward, head.method, None, &mut rng);
            loop {
                match driver.step(now, &mut rng) {
                    Step::Attempt(attempt) => {
                        black_box(attempt);
                        driver.ended(&answer, true, now, &mut rng);
                    }
                    Step::Answer => break,
                    step => drop(black_box(step)),
                }
            }
        });
    });
}

/// The rule with a number.
type RuleOf = fn(usize) -> String;

/// Whether the destination accepts a request, by an ALLOW policy with many rules.
fn authorization(criterion: &mut Criterion) {
    let kinds: [(&str, RuleOf); 3] = [
        ("path", |it| {
            format!("to: [{{operation: {{paths: [/api/item-{it}/reviews]}}}}]")
        }),
        ("path prefix", |it| {
            format!("to: [{{operation: {{paths: ['/api/item-{it}/*']}}}}]")
        }),
        ("principal", |it| {
            format!("from: [{{source: {{principals: [cluster.local/ns/shop/sa/ui-{it}]}}}}]")
        }),
    ];
    for (kind, rule) in kinds {
        let mut group = criterion.benchmark_group(format!("authorization by {kind}"));
        for count in COUNTS {
            let mut yaml = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
  rules:
"
            .to_owned();
            for number in 0..count {
                yaml += &format!("  - {{{}}}\n", rule(number));
            }
            let snapshot = snapshot(&yaml);
            let workload = snapshot.workloads().next().expect("a workload");
            let policies = snapshot.inbound_policies(workload).expect("its policies");
            let account = format!("ui-{}", count / 2);
            let peer = Arc::new(Workload::new("shop", "ui", account, Labels::new()));
            let path = format!("/api/item-{}/reviews", count / 2);
            let request = InboundRequest {
                destination: workload,
                port: 80,
                peer: &Peer::Workload(peer),
                head: RequestHead {
                    method: &Method::GET,
                    scheme: "http",
                    authority: "a.shop",
                    path: &path,
                    query: None,
                    headers: &HeaderMap::new(),
                    source_ip: None,
                },
                principal: None,
            };
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    decide_inbound(black_box(policies), black_box(&request)).expect("allowed");
                });
            });
        }
        group.finish();
    }
}

/// From resources to a snapshot, which a reload does.
fn compilation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for count in COUNTS {
        let yaml = rules(count, |number| {
            format!("{{uri: {{prefix: /api/v1/item-{number}/}}}}")
        });
        let objects = galleria_manifest::read_str(Path::new("bench.yaml"), &yaml).objects;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                compile(
                    &objects,
                    &[],
                    &Options::default(),
                    &State::new(Instant::now()),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, whole_call, authorization, compilation);
criterion_main!(benches);
