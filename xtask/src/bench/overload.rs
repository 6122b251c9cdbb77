//! Three times as many requests as the host can serve: how many it still serves, what
//! becomes of the others, and whether it recovers.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contender::{Contender, Running};
use super::load;
use super::manifests::Manifests;
use super::plan::Plan;
use super::report::{Metric, Table};
use crate::k6;

pub(super) const TABLE: &str = "overload";

pub(super) const PEAK: &str = "the peak, in a closed loop";
pub(super) const FLOOD: &str = "3 × the peak, in an open loop";
pub(super) const AFTER: &str = "the peak again, immediately afterwards";

/// Requests that compute for this long keep the capacity below what k6 can send three
/// times.
const PATH: &str = "/spin?ms=4";
/// Connections that suffice for the peak and do not queue.
const PEAK_CONNECTIONS: u32 = 16;
const FACTOR: f64 = 3.0;

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let k6 = k6::install(plan.workspace)?;
    let setup = format!(
        "Each request computes for 4 ms. The peak is that of a closed loop, `wrk -t1 \
         -c{PEAK_CONNECTIONS}`; the overload is an open loop, k6 with constant-arrival-rate. \
         Requests/s, CPU time per request and response times are those of responses with 200; \
         errors are neither 200 nor 503."
    );
    let mut table = Table::new(TABLE, "Overload", &setup)
        .columns(&[
            Metric::RequestsPerSecond,
            Metric::CpuMicrosecondsPerRequest,
            Metric::GeneratorCores,
            Metric::RefusedPerSecond,
            Metric::P50Milliseconds,
            Metric::P99Milliseconds,
            Metric::P999Milliseconds,
            Metric::NotSent,
            Metric::Errors,
            Metric::LoadedMebibytes,
        ])
        .compared(
            &[Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest],
            PEAK,
        );
    let host = plan.host(TABLE, &["spin"], &Manifests::single("spin", "instance"))?;
    let contender = Contender::new("galleria", move || Running::host(&host, PATH));
    let length = plan.length.max(Duration::from_secs(2));
    plan.in_turn(&[contender], |_, running| {
        running.warm_up(PEAK_CONNECTIONS, plan.warm_up())?;
        let peak = running.closed_loop(PEAK_CONNECTIONS, length)?;
        let capacity = peak[&Metric::RequestsPerSecond];
        let flood =
            running.measure(|| load::open_loop(&k6, &running.url, capacity * FACTOR, length))?;
        let after = running.closed_loop(PEAK_CONNECTIONS, length)?;
        for (name, sample) in [(PEAK, peak), (FLOOD, flood), (AFTER, after)] {
            plan.told(name, &sample);
            table.add(name, sample);
        }
        running.stop().context("the host did not survive")
    })?;
    Ok(vec![table])
}
