//! The cost of a request by the number of routing rules before and after the one that
//! matches.

use anyhow::Result;

use super::contender::{Contender, Running, closed_loops};
use super::manifests::{Manifests, Workload};
use super::plan::Plan;
use super::report::{Metric, Table};

const FEW: &str = "10 rules";

const SIZES: [(&str, usize); 4] = [
    (FEW, 10),
    ("100 rules", 100),
    ("1,000 rules", 1_000),
    ("10,000 rules", 10_000),
];

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let setup = "One VirtualService with rules in rotation: exact path, prefix, regular \
        expression, header. The requests match the prefix rule in the middle. Load: `wrk -t1 \
        -c32` on hello, reused instances.";
    let compared = [Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest];
    let table = Table::new("rules", "Routing rules", setup).compared(&compared, FEW);
    let contenders: Result<Vec<_>> = SIZES
        .into_iter()
        .map(|(name, size)| {
            let host = plan.host(&format!("rules-{size}"), &["hello"], &manifests(size))?;
            let path = format!("/prefix-{}/page", size / 2 / 4 * 4 + 1);
            Ok(Contender::new(name, move || Running::host(&host, &path)))
        })
        .collect();
    closed_loops(plan, &contenders?, vec![(32, table)])
}

fn manifests(size: usize) -> Manifests {
    let workload = Workload {
        name: "app",
        image: "hello",
        isolation: "instance",
        ..Workload::default()
    };
    let all = Manifests::default().workload(&workload);
    (0..size).fold(all, |manifests, number| {
        let condition = match number % 4 {
            0 => format!("uri: {{exact: /exact-{number}}}"),
            1 => format!("uri: {{prefix: /prefix-{number}/}}"),
            2 => format!("uri: {{regex: \"/regex-{number}/[a-z]+\"}}"),
            _ => format!("headers: {{x-rule: {{exact: \"{number}\"}}}}"),
        };
        manifests.rule(&format!("match: [{{{condition}}}]"), "app")
    })
}
