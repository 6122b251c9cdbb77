//! The race of a minimal component: the cost of a request through the host.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contender::{Contender, Running, closed_loops};
use super::manifests::Manifests;
use super::plan::Plan;
use super::report::{Metric, Table};
use crate::galleria::Host;
use crate::server::{Server, free_address};

pub(super) const ALONE: &str = "hello-1";
pub(super) const BUSY: &str = "hello-32";

pub(super) const GALLERIA: &str = "galleria";
pub(super) const FRESH: &str = "galleria, fresh instance per request";
pub(super) const P3: &str = "galleria, WASI 0.3";
pub(super) const REUSED: &str = "wasmtime serve, instances reused";
const SERVED_P3: &str = "wasmtime serve, WASI 0.3";
pub(super) const DEFAULT: &str = "wasmtime serve, its defaults";
pub(super) const NATIVE: &str = "native axum";

/// Name, guest, and isolation. The default of WASI 0.3 is an instance that many requests
/// share.
const HOSTS: [(&str, &str, &str); 3] = [
    (GALLERIA, "hello", "instance"),
    (FRESH, "hello", "request"),
    (P3, "hello-p3", ""),
];

const SETUP: &str = "The component returns `hello`. The host has metrics on and the access log \
    off (the other servers have neither); `galleria` reuses instances.";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let table = |key, connections| {
        let title = format!("Hello, `wrk -t1 -c{connections}`");
        let compared = [Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest];
        (
            connections,
            Table::new(key, title, SETUP).compared(&compared, NATIVE),
        )
    };
    closed_loops(
        plan,
        &contenders(plan)?,
        vec![table(ALONE, 1), table(BUSY, 32)],
    )
}

/// Builds all contenders.
fn contenders(plan: &Plan) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    for (number, (name, guest, isolation)) in HOSTS.into_iter().enumerate() {
        if plan.takes_part(name) {
            let manifests = Manifests::single(guest, isolation);
            let host = plan.host(&format!("hello-{number}"), &[guest], &manifests)?;
            contenders.push(Contender::new(name, move || Running::host(&host, "/")));
        }
    }
    let reuse: &[&str] = &["--max-instance-reuse-count", "1000000000"];
    for (name, guest, arguments) in [
        (REUSED, "hello", reuse),
        (SERVED_P3, "hello-p3", reuse),
        (DEFAULT, "hello", &reuse[..0]),
    ] {
        if plan.takes_part(name) {
            let program = plan.wasmtime()?;
            let component = plan.guest(guest);
            let log = plan.scratch("hello-wasmtime")?.join("serve.log");
            contenders.push(Contender::new(name, move || {
                serve(&program, arguments, &component, &log)
            }));
        }
    }
    if plan.takes_part(NATIVE) {
        let program = plan.example("native-hello")?;
        let log = plan.scratch("hello-native")?.join("native.log");
        contenders.push(Contender::new(NATIVE, move || {
            let address = free_address()?;
            let mut server = Server::start(Command::new(&program).arg(address.to_string()), &log)?;
            server.wait_for(address, "/")?;
            Ok(Running::new(address, "/", vec![server]))
        }));
    }
    Ok(contenders)
}

/// The host with the component and an access log that is off.
pub(super) fn host(plan: &Plan, folder: &str) -> Result<Host> {
    plan.host(folder, &["hello"], &Manifests::single("hello", "instance"))
}

fn serve(program: &Path, arguments: &[&str], component: &Path, log: &Path) -> Result<Running> {
    let address = free_address()?;
    let mut serve = Command::new(program);
    serve
        .args(["serve", "-Scli", "--addr", &address.to_string()])
        .args(arguments);
    let mut server = Server::start(serve.arg(component), log)?;
    server.wait_for(address, "/")?;
    Ok(Running::new(address, "/", vec![server]))
}
