//! The race of the host against itself: with all telemetry about requests (metrics,
//! access log to a pipe, 1 % of the traces to a collector), and without any.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contender::{Contender, Running};
use super::{hello, product, shop};
use crate::galleria::Host;
use crate::server::{Server, free_address};
use crate::workspace::Workspace;

pub(super) const OFF: &str = "everything off";
pub(super) const ON: &str = "metrics, access log to a pipe, 1 % traces";

/// A minimal component, for which telemetry is most of the cost of a request.
pub(super) fn of_hello(
    workspace: &Workspace,
    takes_part: &dyn Fn(&str) -> bool,
) -> Result<Vec<Contender>> {
    let host = hello::build(workspace, workspace.scratch("bench/telemetry-hello")?)?;
    contenders(workspace, takes_part, &host, |host| {
        hello::through_galleria(host)
    })
}

/// The product page: two calls, two log lines, two databases.
pub(super) fn of_product(
    workspace: &Workspace,
    takes_part: &dyn Fn(&str) -> bool,
) -> Result<Vec<Contender>> {
    let host = shop::build(workspace, workspace.scratch("bench/telemetry-product")?)?;
    contenders(workspace, takes_part, &host, |host| {
        product::through_galleria(host)
    })
}

fn contenders(
    workspace: &Workspace,
    takes_part: &dyn Fn(&str) -> bool,
    host: &Host,
    start: impl Fn(&Host) -> Result<Running> + Copy + 'static,
) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if takes_part(OFF) {
        let silent = Host {
            access_log: "off",
            environment: vec![("GALLERIA_METRICS", "off".into())],
            ..host.clone()
        };
        contenders.push(Contender::new(OFF, move || start(&silent)));
    }
    if takes_part(ON) {
        let collector = hello::build_example(workspace, "collector")?;
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
    running.servers.push(server);
    Ok(running)
}
