//! A light service next to one that computes without end: the effect on the callers of
//! the light service, with a CPU limit on the other service and without.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::load::{Answers, Load};
use super::report::median;
use crate::components::place;
use crate::galleria::Host;
use crate::workspace::Workspace;
use crate::{guests, run};

/// Connections to the light service: few, so that its response times do not include a
/// queue.
const LIGHT_CONNECTIONS: u32 = 2;
/// Connections to the computing service, each with a request that computes.
const HUNGRY_CONNECTIONS: u32 = 8;
const HUNGRY_PATH: &str = "hungry/spin?ms=200";
/// Time for the load to start and for the host to warm up.
const WARM_UP: Duration = Duration::from_secs(1);

/// The 99th percentiles of the light service: medians over several rounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fairness {
    /// The neighbour may use a fifth of a core.
    pub(super) limited: Percentiles,
    /// The neighbour may use all cores.
    pub(super) unlimited: Percentiles,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Percentiles {
    pub(super) alone_milliseconds: f64,
    pub(super) beside_milliseconds: f64,
}

pub(super) fn measure(workspace: &Workspace, rounds: usize, length: Duration) -> Result<Fairness> {
    guests::build_rust(workspace)?;
    run::build_host(workspace)?;
    Ok(Fairness {
        limited: series(workspace, "loadtest/fairness/limited", rounds, length)?,
        unlimited: series(workspace, "loadtest/fairness/unlimited", rounds, length)?,
    })
}

fn series(
    workspace: &Workspace,
    manifests: &'static str,
    rounds: usize,
    length: Duration,
) -> Result<Percentiles> {
    let folder = workspace.scratch("bench/fairness")?;
    let components = folder.join("components");
    for guest in ["hello", "spin"] {
        let component = workspace.test_components().join(format!("{guest}.wasm"));
        place(&component, &components.join(guest).join("v1.wasm"))?;
    }
    let host = Host::new(workspace, manifests, components, "off", folder);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for number in 1..=rounds {
        let mut started = host.start()?;
        started.wait()?;
        let url = format!("http://{}/", started.gateway()?);
        light(&url, WARM_UP)?;
        let quiet = light(&url, length)?;
        let noisy = beside_hungry(&url, length)?;
        println!(
            "--- {manifests}, round {number} of {rounds}: p99 {:.2?} alone, {:.2?} next to it",
            quiet.p99, noisy.p99
        );
        alone.push(quiet.p99.as_secs_f64() * 1000.0);
        beside.push(noisy.p99.as_secs_f64() * 1000.0);
        started.server.terminate()?;
    }
    Ok(Percentiles {
        alone_milliseconds: median(&alone),
        beside_milliseconds: median(&beside),
    })
}

fn light(url: &str, length: Duration) -> Result<Answers> {
    Load {
        url,
        connections: LIGHT_CONNECTIONS,
        length,
    }
    .run()
}

fn beside_hungry(url: &str, length: Duration) -> Result<Answers> {
    let hungry_url = format!("{url}{HUNGRY_PATH}");
    thread::scope(|scope| {
        let hungry = scope.spawn(|| {
            Load {
                url: &hungry_url,
                connections: HUNGRY_CONNECTIONS,
                length: length + WARM_UP * 2,
            }
            .run()
        });
        thread::sleep(WARM_UP);
        let light = light(url, length);
        hungry
            .join()
            .map_err(|_| anyhow!("the neighbour's load failed"))??;
        light
    })
}

impl Percentiles {
    pub(super) fn factor(&self) -> f64 {
        self.beside_milliseconds / self.alone_milliseconds
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} ms | {:.2} ms | {:.2}",
            self.alone_milliseconds,
            self.beside_milliseconds,
            self.factor()
        )
    }
}
