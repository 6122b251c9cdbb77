//! Many workloads on one host: the time until all are ready, and the memory after a
//! request to each.

use std::net::SocketAddr;
use std::thread;

use anyhow::{Result, bail};

use super::contender::{Contender, Running};
use super::load::Answers;
use super::manifests::{Manifests, Workload};
use super::plan::Plan;
use super::report::{Metric, Sample, Table};
use crate::galleria::Host;
use crate::server::get;

pub(super) const TABLE: &str = "density";

pub(super) const LARGEST: &str = "1,000 workloads";

const SIZES: [(&str, u32); 4] = [
    ("1 workload", 1),
    ("10 workloads", 10),
    ("100 workloads", 100),
    (LARGEST, 1000),
];

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let setup = "Deployments of hello with reused instances, each with a Service and a rule; \
        compiled components are in the cache. One request to each, one after the other.";
    let mut table = Table::new(TABLE, "Density", setup).columns(&[
        Metric::ReadyMilliseconds,
        Metric::IdleMebibytes,
        Metric::LoadedMebibytes,
        Metric::Threads,
    ]);
    let sizes = &SIZES[..plan.pick(SIZES.len(), SIZES.len() - 1)];
    let host = plan.host(TABLE, &["hello"], &manifests(1))?;
    let contenders: Result<Vec<_>> = sizes
        .iter()
        .map(|&(name, size)| {
            let folder = host.folder.join(format!("manifests-{size}"));
            let host = Host {
                manifests: manifests(size).write(&folder)?,
                ..host.clone()
            };
            Ok(Contender::new(name, move || Running::host(&host, "/")))
        })
        .collect();
    plan.in_turn(&contenders?, |name, running| {
        let ready = running.ready_in.as_secs_f64() * 1e3;
        thread::sleep(plan.settle());
        let idle = running.idle_mebibytes()?;
        let size = sizes.iter().find(|(size, _)| *size == name);
        let size = size.map_or(0, |(_, size)| *size);
        let mut sample = running.measure(|| visit_each(running.address, size))?;
        sample.extend([
            (Metric::ReadyMilliseconds, ready),
            (Metric::IdleMebibytes, idle),
        ]);
        plan.told(name, &sample);
        table.add(name, sample);
        running.stop()
    })?;
    Ok(vec![table])
}

fn manifests(size: u32) -> Manifests {
    (0..size).fold(Manifests::default(), |manifests, number| {
        let name = format!("app-{number}");
        let workload = Workload {
            name: &name,
            image: "hello",
            isolation: "instance",
            ..Workload::default()
        };
        manifests
            .workload(&workload)
            .rule(&format!("match: [{{uri: {{exact: /{name}}}}}]"), &name)
    })
}

fn visit_each(address: SocketAddr, size: u32) -> Result<Answers> {
    for number in 0..size {
        let answer = get(address, &format!("/app-{number}"))?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("workload {number} answered {answer}");
        }
    }
    Ok(Answers {
        requests: f64::from(size),
        sample: Sample::new(),
    })
}
