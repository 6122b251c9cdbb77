//! The race of the host against itself: with all telemetry about requests (metrics,
//! access log to a pipe, 1 % of the traces to a collector), and without any.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contender::{Contender, Running, closed_loops};
use super::plan::Plan;
use super::report::{Metric, Table};
use super::{hello, product};
use crate::galleria::Host;
use crate::server::{Server, free_address};

pub(super) const HELLO: &str = "telemetry-hello";
pub(super) const PRODUCT: &str = "telemetry-product";

pub(super) const OFF: &str = "everything off";
pub(super) const ON: &str = "metrics, access log to a pipe, 1 % traces";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let hello_host = hello::host(plan, HELLO)?;
    let hello = contenders(plan, &hello_host, |host| Running::host(host, "/"))?;
    let shop = plan.shop(PRODUCT)?;
    let product = contenders(plan, &shop, product::through_galleria)?;
    let mut tables = Vec::new();
    for (key, what, contenders) in [(HELLO, "hello", hello), (PRODUCT, "product page", product)] {
        let setup = "The pipe is read, and the collector runs, on the same cores; their CPU time \
            is not counted.";
        let table = Table::new(key, format!("Telemetry, {what}, `wrk -t1 -c32`"), setup).compared(
            &[Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest],
            OFF,
        );
        tables.extend(closed_loops(plan, &contenders, vec![(32, table)])?);
    }
    Ok(tables)
}

fn contenders(
    plan: &Plan,
    host: &Host,
    start: impl Fn(&Host) -> Result<Running> + Copy + 'static,
) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if plan.takes_part(OFF) {
        let silent = Host {
            access_log: "off",
            environment: vec![("GALLERIA_METRICS", "off".into())],
            ..host.clone()
        };
        contenders.push(Contender::new(OFF, move || start(&silent)));
    }
    if plan.takes_part(ON) {
        let collector = plan.example("collector")?;
        let host = Host {
            access_log: "json",
            piped: true,
            ..host.clone()
        };
        contenders.push(Contender::new(ON, move || {
            with_telemetry(&host, &collector, start)
        }));
    }
    Ok(contenders)
}

fn with_telemetry(
    host: &Host,
    collector: &Path,
    start: impl Fn(&Host) -> Result<Running>,
) -> Result<Running> {
    let address = free_address()?;
    let mut command = Command::new(collector);
    let log = host.folder.join("collector.log");
    let mut server = Server::start(command.arg(address.to_string()), &log)?;
    server.wait_for(address, "/")?;
    let host = Host {
        environment: vec![
            ("GALLERIA_TRACE_SAMPLE", "0.01".into()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".into()),
        ],
        ..host.clone()
    };
    let mut running = start(&host)?;
    running.others.push(server);
    Ok(running)
}
