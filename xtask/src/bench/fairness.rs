//! A light service next to one that computes without end: the effect on the callers of
//! the light service, with a CPU limit on the other service and without.
//!
//! For comparison, a native thread outside the host computes for as long as the limit
//! allows. Its effect is that of the kernel's scheduler alone.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::contender::{Contender, Running};
use super::load;
use super::manifests::{Manifests, Workload};
use super::plan::Plan;
use super::report::{Metric, Sample, Table};

pub(super) const TABLE: &str = "fairness";

pub(super) const LIMITED_IDLE: &str = "neighbour with `limits.cpu: 200m`, idle";
pub(super) const LIMITED: &str = "neighbour with `limits.cpu: 200m`, computing";
const NATIVE: &str = "native thread that computes 20 ms of every 100 ms";
const UNLIMITED_IDLE: &str = "neighbour without a limit, idle";
const UNLIMITED: &str = "neighbour without a limit, computing";

/// Connections to the light service: few, so that its response times do not include a
/// queue.
const LIGHT_CONNECTIONS: u32 = 2;
/// Connections to the computing service, each with a request that computes.
const HUNGRY_CONNECTIONS: u32 = 8;
/// Time for the load to start and for the host to warm up.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let setup = "The response times of a light service, next to a service with eight clients that \
        each request 200 ms of computing again and again. Load on the light service: `wrk -t1 -c2`.";
    let mut table =
        Table::new(TABLE, "A light service next to one that computes", setup).columns(&[
            Metric::RequestsPerSecond,
            Metric::P50Milliseconds,
            Metric::P99Milliseconds,
            Metric::P999Milliseconds,
            Metric::Errors,
        ]);
    let contenders = [
        contender(plan, LIMITED, "200m")?,
        contender(plan, UNLIMITED, "")?,
    ];
    plan.in_turn(&contenders, |name, running| {
        let idle = match name {
            LIMITED => LIMITED_IDLE,
            _ => UNLIMITED_IDLE,
        };
        light(&running.url, WARM_UP)?;
        let mut samples = vec![
            (idle, light(&running.url, plan.length)?),
            (name, beside_hungry(&running.url, plan.length)?),
        ];
        if name == LIMITED {
            samples.push((NATIVE, beside_native(&running.url, plan.length)?));
        }
        for (name, sample) in samples {
            plan.told(name, &sample);
            table.add(name, sample);
        }
        Ok(())
    })?;
    Ok(vec![table])
}

fn contender(plan: &Plan, name: &'static str, cpu: &str) -> Result<Contender> {
    let workload = |name, image, cpu| Workload {
        name,
        image,
        cpu,
        isolation: "instance",
        ..Workload::default()
    };
    let manifests = Manifests::default()
        .workload(&workload("light", "hello", ""))
        .workload(&workload("hungry", "spin", cpu))
        .rule("match: [{uri: {prefix: /spin}}]", "hungry")
        .rule("", "light");
    let folder = format!(
        "fairness-{}",
        if cpu.is_empty() {
            "unlimited"
        } else {
            "limited"
        }
    );
    let host = plan.host(&folder, &["hello", "spin"], &manifests)?;
    Ok(Contender::new(name, move || Running::host(&host, "/")))
}

fn light(url: &str, length: Duration) -> Result<Sample> {
    Ok(load::closed_loop(url, &[], LIGHT_CONNECTIONS, length)?.sample)
}

fn beside_hungry(url: &str, length: Duration) -> Result<Sample> {
    let hungry_url = format!("{url}spin?ms=200");
    thread::scope(|scope| {
        let hungry = scope.spawn(|| {
            load::closed_loop(&hungry_url, &[], HUNGRY_CONNECTIONS, length + WARM_UP * 2)
        });
        thread::sleep(WARM_UP);
        let light = light(url, length);
        hungry
            .join()
            .map_err(|_| anyhow!("the neighbour's load failed"))??;
        light
    })
}

fn beside_native(url: &str, length: Duration) -> Result<Sample> {
    thread::scope(|scope| {
        scope.spawn(|| compute_with_pauses(length + WARM_UP * 2));
        thread::sleep(WARM_UP);
        light(url, length)
    })
}

/// Computes as a guest with `limits.cpu: 200m` may.
fn compute_with_pauses(length: Duration) {
    const PERIOD: Duration = Duration::from_millis(100);
    const BUDGET: Duration = Duration::from_millis(20);
    let end = Instant::now() + length;
    while Instant::now() < end {
        let period = Instant::now();
        while period.elapsed() < BUDGET {
            std::hint::spin_loop();
        }
        thread::sleep(PERIOD.saturating_sub(period.elapsed()));
    }
}
