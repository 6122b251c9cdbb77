//! The whole shop on an idle host: its memory, and the time until it is ready.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::median;
use crate::galleria::Host;
use crate::server::resident_bytes;
use crate::workspace::Workspace;
use crate::{components, run};

/// How long the shop idles before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Medians over several starts.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) resident_bytes: f64,
    /// From the start of the process until every workload is ready, with compiled
    /// components in the cache.
    pub(super) ready_milliseconds: f64,
}

/// Builds host and services; the host's data is stored in `folder`.
pub(super) fn build(workspace: &Workspace, folder: PathBuf) -> Result<Host> {
    components::build_services(workspace)?;
    run::build_host(workspace)?;
    Ok(Host::new(
        workspace,
        "deploy/shop",
        workspace.components(),
        "json",
        folder,
    ))
}

pub(super) fn measure(workspace: &Workspace, rounds: usize) -> Result<Shop> {
    let host = build(workspace, workspace.scratch("bench/shop")?)?;
    println!("--- shop: first start, which compiles");
    let mut first = host.start()?;
    first.wait()?;
    first.server.terminate()?;

    let mut resident = Vec::new();
    let mut ready = Vec::new();
    for number in 1..=rounds.max(3) {
        let start = Instant::now();
        let mut started = host.start()?;
        let milliseconds = (started.wait()? - start).as_secs_f64() * 1000.0;
        thread::sleep(SETTLE);
        let servers = [started.server];
        let bytes = resident_bytes(&servers)?;
        println!(
            "--- shop, start {number}: ready in {milliseconds:.0} ms, {} MiB",
            bytes >> 20
        );
        ready.push(milliseconds);
        #[expect(
            clippy::cast_precision_loss,
            reason = "memory of a process is far below 2^52"
        )]
        resident.push(bytes as f64);
        for server in servers {
            server.terminate()?;
        }
    }
    Ok(Shop {
        resident_bytes: median(&resident),
        ready_milliseconds: median(&ready),
    })
}
