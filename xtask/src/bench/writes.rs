//! Writes to SQLite through a guest: one writer, which waits for each commit, and many,
//! whose commits the host combines.

use std::thread;

use anyhow::{Context, Result, bail};

use super::contender::{Contender, Running};
use super::manifests::{Manifests, Workload};
use super::plan::Plan;
use super::report::{LOAD, Metric, Table};
use crate::server::get;

pub(super) const TABLE: &str = "writes";

pub(super) const ALONE: &str = "one writer, one commit after another";
pub(super) const TOGETHER: &str = "32 writers";

const CREATE: &str = "/script?url=sqlite:/data/bench.db&q=\
    create%20table%20if%20not%20exists%20written(id%20integer%20primary%20key,text%20text)";
const INSERT: &str = "/execute?url=sqlite:/data/bench.db&q=\
    insert%20into%20written(text)%20values('a%20row%20of%20some%20length')";
const COUNT: &str = "/?url=sqlite:/data/bench.db&q=select%20count(*)%20from%20written";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let setup = "Each request inserts a row and gets its response when the row is on disk \
        (`synchronous=FULL`). After the load, the host is killed with SIGKILL and started again, \
        and the rows are counted. Load: `wrk -t1`.";
    let mut table = Table::new(TABLE, "SQLite writes through a guest", setup)
        .columns(LOAD)
        .columns(&[Metric::Errors, Metric::LostWrites])
        .compared(&[Metric::RequestsPerSecond], ALONE);
    let workload = Workload {
        name: "app",
        image: "sql",
        isolation: "instance",
        data: true,
        ..Workload::default()
    };
    let manifests = Manifests::default().workload(&workload).rule("", "app");
    let host = plan.host(TABLE, &["sql"], &manifests)?;
    let start = |name| {
        let host = host.clone();
        Contender::new(name, move || Running::host(&host, INSERT))
    };
    plan.in_turn(&[start(ALONE), start(TOGETHER)], |name, running| {
        let created = get(running.address, CREATE)?;
        if !created.starts_with("HTTP/1.1 200 ") {
            bail!("the table was not created: {created}");
        }
        let connections = if name == ALONE { 1 } else { 32 };
        running.warm_up(connections, plan.warm_up())?;
        // The last writes of the warm-up can be in flight.
        thread::sleep(plan.settle());
        let before = count(&running)?;
        let mut sample = running.closed_loop(connections, plan.length)?;
        let acknowledged = sample[&Metric::Requests] - sample[&Metric::Errors];
        drop(running);
        let after = count(&Running::host(&host, INSERT)?)?;
        let lost = (acknowledged - (after - before)).max(0.0);
        sample.insert(Metric::LostWrites, lost);
        plan.told(name, &sample);
        table.add(name, sample);
        Ok(())
    })?;
    Ok(vec![table])
}

/// The rows in the database.
fn count(running: &Running) -> Result<f64> {
    let answer = get(running.address, COUNT)?;
    let (_, rows) = answer
        .split_once("\"rows\":[[")
        .with_context(|| format!("the rows were not counted: {answer}"))?;
    let digits = rows.split(']').next().unwrap_or_default();
    Ok(digits.parse()?)
}
