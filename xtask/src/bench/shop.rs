//! The whole shop on an idle host: its memory, and the time until it is ready.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::contender::{Contender, Running};
use super::plan::Plan;
use super::product::GALLERIA;
use super::report::{Metric, Sample, Table};

pub(super) const TABLE: &str = "shop";

/// How long the shop idles before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let host = plan.shop("shop")?;
    let setup = "The shop's six pods, without requests; compiled components are in the cache.";
    let mut table = Table::new(TABLE, "The shop, idle", setup)
        .columns(&[Metric::ReadyMilliseconds, Metric::IdleMebibytes]);
    let contender = Contender::new(GALLERIA, move || Running::host(&host, "/"));
    plan.in_turn(&[contender], |name, running| {
        thread::sleep(plan.pick(SETTLE, plan.settle()));
        let sample = Sample::from([
            (
                Metric::ReadyMilliseconds,
                running.ready_in.as_secs_f64() * 1e3,
            ),
            (Metric::IdleMebibytes, running.idle_mebibytes()?),
        ]);
        plan.told("idle", &sample);
        table.add(name, sample);
        running.stop()
    })?;
    Ok(vec![table])
}
