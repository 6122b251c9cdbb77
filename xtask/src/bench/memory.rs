//! Memory and threads after a minute of product pages.

use std::time::Duration;

use anyhow::Result;

use super::contender::Running;
use super::plan::Plan;
use super::product;
use super::report::{Metric, Table};

pub(super) const TABLE: &str = "memory";

const CONNECTIONS: u32 = 32;

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let length = Duration::from_secs(plan.pick(60, 5));
    let seconds = length.as_secs();
    let setup = format!(
        "{} Load: `wrk -t1 -c{CONNECTIONS} -d{seconds}s`.",
        product::SETUP
    );
    let title = format!("Memory after {seconds} s of product pages");
    let mut table = Table::new(TABLE, title, &setup).columns(&[
        Metric::IdleMebibytes,
        Metric::LoadedMebibytes,
        Metric::Threads,
        Metric::ThreadsBeyondCores,
        Metric::RequestsPerSecond,
        Metric::Errors,
    ]);
    let contenders = product::contenders(plan, TABLE)?;
    plan.in_turn(&contenders, |name, running: Running| {
        std::thread::sleep(plan.settle());
        let idle = running.idle_mebibytes()?;
        let mut sample = running.closed_loop(CONNECTIONS, length)?;
        sample.insert(Metric::IdleMebibytes, idle);
        plan.told("at the end", &sample);
        table.add(name, sample);
        Ok(())
    })?;
    Ok(vec![table])
}
