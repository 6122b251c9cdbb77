//! The Grafana dashboards: every query in `grafana/dashboards` runs against a Prometheus
//! that scrapes two busy hosts, the shop and a host with every kind of failure.

mod board;
mod load;
mod names;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::board::{Board, Query};
use crate::support::{Host, PATIENCE, Prometheus, SetOnDrop, eventually};

/// Series that Prometheus itself creates.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

#[test]
fn dashboards_are_complete_and_consistent() {
    let boards = board::all();
    let uids: HashSet<&str> = boards.iter().map(Board::uid).collect();
    assert_eq!(uids.len(), boards.len(), "uids are unique");
    for board in &boards {
        let mistakes = board.mistakes(&uids);
        assert!(mistakes.is_empty(), "{}: {mistakes:#?}", board.name);
    }
}

#[test]
fn every_panel_shows_data_of_busy_hosts() {
    let (shop, trouble) = (load::Shop::start(), load::Trouble::start());
    let hosts = [&shop.host, &trouble.host];
    let prometheus = Prometheus::scraping(&hosts.map(Host::status_address));
    let boards = board::all();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done_at_end = SetOnDrop(&done);
        scope.spawn(|| shop.visit(&done));
        scope.spawn(|| trouble.make(&done));
        for _ in 0..2 {
            scope.spawn(|| trouble.crowd(&done));
        }
        until_answered(
            &prometheus,
            boards.iter().flat_map(Board::queries).collect(),
        );
        eventually("an exemplar of a duration names a trace", || {
            let traces = traces_of_exemplars(&prometheus);
            let mut spans = shop.collector.spans().into_iter();
            spans.find(|span| traces.contains(&span.trace))
        });
        drop(done_at_end);
    });
    let of_boards = boards.iter().flat_map(Board::queries).map(|it| it.text);
    assert_known(&hosts, &rules(&prometheus), of_boards);
}

/// Runs the queries until each has returned data once; names the panels that stay empty.
fn until_answered(prometheus: &Prometheus, mut queries: Vec<Query>) {
    // Other tests run at the same time, and each query needs some seconds of load.
    let until = Instant::now() + 2 * PATIENCE;
    while !queries.is_empty() {
        if Instant::now() > until {
            let rest: Vec<String> = queries.iter().map(ToString::to_string).collect();
            panic!("panels stay empty:\n{}", rest.join("\n"));
        }
        queries.retain_mut(|query| !query.is_answered(prometheus));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Every metric that dashboards and rules query is one of a host, or is recorded by a
/// rule.
fn assert_known(hosts: &[&Host], rules: &[Rule], of_boards: impl Iterator<Item = String>) {
    let mut known = families(hosts);
    let recorded = rules.iter().filter(|rule| rule.is_recording);
    known.extend(recorded.map(|rule| rule.name.clone()));
    known.extend(OF_PROMETHEUS.map(str::to_owned));
    let of_rules = rules.iter().map(|rule| rule.query.clone());
    for query in of_boards.chain(of_rules) {
        for name in names::metrics(&query) {
            assert!(known.contains(&name), "no host has {name}: {query}");
        }
    }
}

/// Names of the series of the hosts.
fn families(hosts: &[&Host]) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for host in hosts {
        let metrics = host.status("/metrics").body;
        for line in metrics.lines() {
            let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|it| it.split_once(' '))
            else {
                continue;
            };
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
        }
    }
    known
}

/// A rule that Prometheus loaded.
struct Rule {
    name: String,
    query: String,
    is_recording: bool,
}

fn rules(prometheus: &Prometheus) -> Vec<Rule> {
    let answer = prometheus.get("rules", &[]).expect("rules");
    let groups = answer["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    rules
        .map(|rule| {
            assert_eq!(rule["health"], "ok", "{rule}");
            Rule {
                name: text(&rule["name"]),
                query: text(&rule["query"]),
                is_recording: rule["type"] == "recording",
            }
        })
        .collect()
}

/// The traces named by the exemplars of durations.
fn traces_of_exemplars(prometheus: &Prometheus) -> HashSet<String> {
    let query = ("query", "istio_request_duration_milliseconds_bucket");
    let from_to = [query, ("start", "0"), ("end", "9999999999")];
    let answer = prometheus.get("query_exemplars", &from_to);
    let answer = answer.expect("exemplars");
    let series = answer.as_array().expect("series").iter();
    let exemplars = series.flat_map(|it| it["exemplars"].as_array().expect("exemplars"));
    let traces = exemplars.filter_map(|it| it["labels"]["trace_id"].as_str());
    traces.map(str::to_owned).collect()
}
