//! Product pages at a constant rate, which every contender can serve: the response times
//! that clients see who do not wait for each other.

use std::time::Duration;

use anyhow::Result;

use super::plan::Plan;
use super::report::{LOAD, Metric, Table};
use super::{load, product};
use crate::k6;

/// Requests per second: about a third of what Envoy serves with both cores.
const RATE: f64 = 1000.0;

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let k6 = k6::install(plan.workspace)?;
    let setup = format!(
        "{} Load: k6, constant-arrival-rate of {RATE} pages per second.",
        product::SETUP
    );
    let mut table = Table::new("open-loop", "Product page at a constant rate", &setup)
        .columns(LOAD)
        .columns(&[Metric::NotSent, Metric::Errors])
        .compared(
            &[Metric::CpuMicrosecondsPerRequest, Metric::P50Milliseconds],
            product::NATIVE,
        );
    let length = plan.length.max(Duration::from_secs(2));
    let contenders = product::contenders(plan, "open-loop")?;
    plan.in_turn(&contenders, |name, running| {
        running.warm_up(32, plan.warm_up())?;
        let sample = running.measure(|| load::open_loop(&k6, &running.url, RATE, length))?;
        plan.told("constant rate", &sample);
        table.add(name, sample);
        Ok(())
    })?;
    Ok(vec![table])
}
