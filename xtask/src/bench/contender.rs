//! A server that takes part in a race, and the measurement of a load on it.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::{self, Answers};
use super::plan::Plan;
use super::report::{LOAD, Metric, Sample, Table};
use super::usage;
use crate::galleria::Host;
use crate::server::{Server, resident_bytes};

/// The columns of a race in closed loops, after those of every load.
const COLUMNS: &[Metric] = &[
    Metric::IdleMebibytes,
    Metric::LoadedMebibytes,
    Metric::Threads,
    Metric::GeneratorCores,
    Metric::Errors,
];

/// One way to serve what a race requests.
pub(super) struct Contender {
    pub(super) name: &'static str,
    start: Box<dyn Fn() -> Result<Running>>,
}

/// A running contender. Dropping it kills its processes.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    /// The requested page.
    pub(super) url: String,
    /// What every request of a closed loop sends, each as `name: value`.
    pub(super) headers: Vec<String>,
    /// From the start until it was ready.
    pub(super) ready_in: Duration,
    /// The processes that are measured.
    pub(super) servers: Vec<Server>,
    /// Processes that the servers need and that are not measured.
    pub(super) others: Vec<Server>,
}

impl Contender {
    pub(super) fn new(name: &'static str, start: impl Fn() -> Result<Running> + 'static) -> Self {
        Self {
            name,
            start: Box::new(start),
        }
    }

    pub(super) fn start(&self) -> Result<Running> {
        (self.start)()
    }
}

impl Running {
    /// Servers that serve a page at `path` of `address`.
    pub(super) fn new(address: SocketAddr, path: &str, servers: Vec<Server>) -> Self {
        Self {
            address,
            url: format!("http://{address}{path}"),
            headers: Vec::new(),
            ready_in: Duration::ZERO,
            servers,
            others: Vec::new(),
        }
    }

    /// A host, with the page at `path` of its gateway.
    pub(super) fn host(host: &Host, path: &str) -> Result<Self> {
        let start = Instant::now();
        let mut started = host.start()?;
        let ready_in = started.wait()? - start;
        let gateway = started.gateway()?;
        Ok(Self {
            ready_in,
            ..Self::new(gateway, path, vec![started.server])
        })
    }

    pub(super) fn idle_mebibytes(&self) -> Result<f64> {
        Ok(mebibytes(resident_bytes(&self.servers)?))
    }

    /// Measures what the servers and the generator of a load consume; no other load may run
    /// meanwhile.
    pub(super) fn measure(&self, load: impl FnOnce() -> Result<Answers>) -> Result<Sample> {
        let (start, before) = (Instant::now(), usage::cpu_of_ended_children()?);
        let (answers, used) = usage::during(&self.servers, load)?;
        let generator = usage::cpu_of_ended_children()?.saturating_sub(before);
        let mut sample = answers.sample;
        let threads = used.threads as f64;
        let cores = thread::available_parallelism()?.get() as f64;
        let requests = answers.requests.max(1.0);
        sample.extend([
            (Metric::Requests, answers.requests),
            (
                Metric::CpuMicrosecondsPerRequest,
                used.cpu.as_secs_f64() * 1e6 / requests,
            ),
            (
                Metric::ContextSwitchesPerRequest,
                used.context_switches as f64 / requests,
            ),
            (Metric::Threads, threads),
            (Metric::ThreadsBeyondCores, threads - cores),
            (
                Metric::GeneratorCores,
                generator.as_secs_f64() / start.elapsed().as_secs_f64(),
            ),
            (Metric::LoadedMebibytes, mebibytes(used.resident_bytes)),
        ]);
        Ok(sample)
    }

    pub(super) fn closed_loop(&self, connections: u32, length: Duration) -> Result<Sample> {
        self.measure(|| load::closed_loop(&self.url, &self.headers, connections, length))
    }

    /// A closed loop that is not measured.
    pub(super) fn warm_up(&self, connections: u32, length: Duration) -> Result<()> {
        load::closed_loop(&self.url, &self.headers, connections, length).map(drop)
    }

    /// Ends the servers with SIGTERM.
    pub(super) fn stop(self) -> Result<()> {
        self.servers.into_iter().try_for_each(Server::terminate)
    }
}

/// Measures every contender with each number of connections, for which there is a table
/// each.
pub(super) fn closed_loops(
    plan: &Plan,
    contenders: &[Contender],
    mut tables: Vec<(u32, Table)>,
) -> Result<Vec<Table>> {
    plan.in_turn(contenders, |name, running| {
        thread::sleep(plan.settle());
        let idle = running.idle_mebibytes()?;
        running.warm_up(32, plan.warm_up())?;
        for (connections, table) in &mut tables {
            let mut sample = running.closed_loop(*connections, plan.length)?;
            sample.insert(Metric::IdleMebibytes, idle);
            plan.told(&format!("{connections} connections"), &sample);
            table.add(name, sample);
        }
        Ok(())
    })?;
    let with_columns = |(_, table): (u32, Table)| table.columns(LOAD).columns(COLUMNS);
    Ok(tables.into_iter().map(with_columns).collect())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
