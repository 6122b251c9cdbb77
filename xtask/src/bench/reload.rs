//! Changes of the manifests under load: what they cost, and whether a request fails.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::contender::{Contender, Running};
use super::manifests::{Manifests, Workload};
use super::plan::Plan;
use super::report::{Metric, Sample, Table};
use crate::server::get;

pub(super) const TABLE: &str = "reload";

const UNCHANGED: &str = "no changes";
pub(super) const CHANGING: &str = "100 changes a minute";

/// Between two changes.
const INTERVAL: Duration = Duration::from_millis(600);
/// Every change sets another response header; every tenth also rolls the Deployment out.
const ROLLOUT_EVERY: u32 = 10;
/// How long a change may take to be in effect.
const CHANGE_MAX: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 32;

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let length = Duration::from_secs(plan.pick(60, 9));
    let setup = format!(
        "A file of manifests is replaced every {} ms: each change sets another response header, \
         and every tenth also rolls the Deployment out. Load: `wrk -t1 -c{CONNECTIONS} -d{}s` on hello, reused \
         instances.",
        INTERVAL.as_millis(),
        length.as_secs(),
    );
    let mut table = Table::new(TABLE, "Reload under load", &setup)
        .columns(&[
            Metric::ChangesPerMinute,
            Metric::SlowestChangeMilliseconds,
            Metric::RequestsPerSecond,
            Metric::CpuMicrosecondsPerRequest,
            Metric::P50Milliseconds,
            Metric::P99Milliseconds,
            Metric::P999Milliseconds,
            Metric::LoadedMebibytes,
            Metric::Errors,
        ])
        .compared(
            &[Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest],
            UNCHANGED,
        );
    let host = plan.host(TABLE, &["hello"], &manifests(0))?;
    let folder = host.manifests.clone();
    let start = |name| {
        let host = host.clone();
        Contender::new(name, move || {
            manifests(0).write(&host.manifests)?;
            Running::host(&host, "/")
        })
    };
    plan.in_turn(&[start(UNCHANGED), start(CHANGING)], |name, running| {
        running.warm_up(CONNECTIONS, plan.warm_up())?;
        let loaded = || running.closed_loop(CONNECTIONS, length);
        let sample = match name {
            UNCHANGED => loaded()?,
            _ => while_changing(&running, &folder, loaded)?,
        };
        plan.told(name, &sample);
        table.add(name, sample);
        Ok(())
    })?;
    Ok(vec![table])
}

fn manifests(change: u32) -> Manifests {
    let workload = Workload {
        name: "app",
        image: "hello",
        isolation: "instance",
        revision: change / ROLLOUT_EVERY,
        ..Workload::default()
    };
    let header = format!("headers: {{response: {{set: {{x-change: \"{change}\"}}}}}}");
    Manifests::default()
        .workload(&workload)
        .rule(&header, "app")
}

/// Changes the manifests for as long as the load lasts.
fn while_changing(
    running: &Running,
    folder: &Path,
    load: impl FnOnce() -> Result<Sample>,
) -> Result<Sample> {
    let done = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let mut took = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let number = took.len() as u32 + 1;
                took.push(change(running.address, folder, number)?);
                let next = start + INTERVAL * number;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok::<_, anyhow::Error>(took)
        });
        let loaded = load();
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        done.store(true, Ordering::Relaxed);
        let changes = changes.join();
        let took = changes.map_err(|_| anyhow!("changing the manifests failed"))??;
        let mut sample = loaded?;
        let slowest = took.iter().max().copied().unwrap_or_default();
        sample.extend([
            (Metric::ChangesPerMinute, took.len() as f64 / minutes),
            (
                Metric::SlowestChangeMilliseconds,
                slowest.as_secs_f64() * 1e3,
            ),
        ]);
        Ok(sample)
    })
}

/// Makes a change and waits until it is in effect.
fn change(address: SocketAddr, folder: &Path, number: u32) -> Result<Duration> {
    manifests(number).write(folder)?;
    let start = Instant::now();
    let header = format!("x-change: {number}\r\n");
    while !get(address, "/")?.contains(&header) {
        if start.elapsed() > CHANGE_MAX {
            bail!("change {number} had no effect within {CHANGE_MAX:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(start.elapsed())
}
