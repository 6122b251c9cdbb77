//! How often and for how long contenders are measured, and what is built for them.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::contender::{Contender, Running};
use super::manifests::Manifests;
use super::report::{Metric, Sample};
use crate::components::{self, place};
use crate::galleria::Host;
use crate::process::{self, cargo};
use crate::workspace::Workspace;
use crate::{guests, run};

/// The wasmtime version that the host is built on.
const WASMTIME: &str = "48.0.8";

/// The options of a run, with their defaults filled in.
pub(super) struct Plan<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) rounds: usize,
    /// Of one measurement.
    pub(super) length: Duration,
    pub(super) quick: bool,
    build: bool,
    contender: Option<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(workspace: &'a Workspace, options: &Options) -> Self {
        let pick = |quick, full| if options.quick { quick } else { full };
        Self {
            workspace,
            rounds: options.rounds.unwrap_or(pick(1, 3)),
            length: Duration::from_secs(options.seconds.unwrap_or(pick(1, 8) as u64)),
            quick: options.quick,
            build: !options.no_build,
            contender: options.contender.clone(),
        }
    }

    /// One value for results, and one for `--quick`.
    pub(super) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Load before a measurement, so that caches, pools and connections are warm.
    pub(super) fn warm_up(&self) -> Duration {
        Duration::from_secs(self.pick(2, 1))
    }

    /// How long a contender idles before its memory is read.
    pub(super) fn settle(&self) -> Duration {
        Duration::from_millis(self.pick(1000, 200))
    }

    /// The command line that repeats a race with the same options.
    pub(super) fn command(&self, race: &str) -> String {
        let (rounds, seconds) = (self.rounds, self.length.as_secs());
        format!("cargo xtask bench {race} --rounds {rounds} --seconds {seconds}")
    }

    /// Whether a contender takes part; the others are not built.
    pub(super) fn takes_part(&self, name: &str) -> bool {
        self.contender
            .as_ref()
            .is_none_or(|text| name.contains(text))
    }

    /// Starts and measures every contender in each round: A B A B.
    pub(super) fn in_turn(
        &self,
        contenders: &[Contender],
        mut measure: impl FnMut(&'static str, Running) -> Result<()>,
    ) -> Result<()> {
        for round in 1..=self.rounds {
            for contender in contenders {
                let name = contender.name;
                println!("--- round {round} of {}: {name}", self.rounds);
                contender
                    .start()
                    .and_then(|running| measure(name, running))
                    .context(name)?;
                // The cost of closed connections and dirty pages must not affect the next
                // turn.
                thread::sleep(self.settle());
            }
        }
        Ok(())
    }

    /// Prints the sample of a round.
    pub(super) fn told(&self, what: &str, sample: &Sample) {
        let value = |(metric, value): (&Metric, &f64)| format!("{} {value:.2}", metric.label());
        let values: Vec<_> = sample.iter().map(value).collect();
        println!("    {what}: {}", values.join(", "));
    }

    /// An empty folder for a race.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        self.workspace.scratch(&format!("bench/{name}"))
    }

    /// The host with the shop, and with the access log that the shop's operators get.
    pub(super) fn shop(&self, folder: &str) -> Result<Host> {
        if self.build {
            components::build_services(self.workspace)?;
            run::build_host(self.workspace)?;
        }
        let components = self.workspace.components();
        let folder = self.scratch(folder)?;
        compiled(Host::new(
            self.workspace,
            "deploy/shop",
            components,
            "json",
            folder,
        ))
    }

    /// The host with guests of the tests, by their file names, and without an access log.
    pub(super) fn host(
        &self,
        folder: &str,
        guests: &[&str],
        manifests: &Manifests,
    ) -> Result<Host> {
        if self.build {
            guests::build_rust(self.workspace)?;
            run::build_host(self.workspace)?;
        }
        let folder = self.scratch(folder)?;
        let components = folder.join("components");
        for guest in guests {
            place(&self.guest(guest), &components.join(guest).join("v1.wasm"))?;
        }
        let manifests = manifests.write(&folder.join("manifests"))?;
        compiled(Host::new(
            self.workspace,
            manifests,
            components,
            "off",
            folder,
        ))
    }

    /// The host with manifests that run no guest, and without an access log.
    pub(super) fn bare_host(&self, folder: &str, manifests: &str) -> Result<Host> {
        if self.build {
            run::build_host(self.workspace)?;
        }
        let folder = self.scratch(folder)?;
        let components = self.workspace.components();
        let host = Host::new(self.workspace, manifests, components, "off", folder);
        Ok(host)
    }

    /// The component of a guest of the tests.
    pub(super) fn guest(&self, name: &str) -> PathBuf {
        self.workspace
            .test_components()
            .join(format!("{name}.wasm"))
    }

    /// The folder of the services as native programs.
    pub(super) fn native_services(&self) -> Result<PathBuf> {
        self.cargo("build --release -p shop-product -p shop-review --bins")?;
        Ok(self.workspace.target.join("release"))
    }

    /// An example of xtask: a program that takes part in a race.
    pub(super) fn example(&self, name: &str) -> Result<PathBuf> {
        self.cargo(&format!("build --release -p xtask --example {name}"))?;
        Ok(self.workspace.target.join("release/examples").join(name))
    }

    /// wasmtime's own server.
    pub(super) fn wasmtime(&self) -> Result<PathBuf> {
        let tools = self.workspace.target.join("tools");
        let program = tools.join("bin/wasmtime");
        if !program.exists() {
            let root = tools.display();
            self.cargo(&format!(
                "install wasmtime-cli --version {WASMTIME} --locked --root {root}"
            ))?;
        }
        Ok(program)
    }

    fn cargo(&self, arguments: &str) -> Result<()> {
        if !self.build {
            return Ok(());
        }
        let mut command = cargo();
        command.current_dir(&self.workspace.root);
        process::run(command.args(arguments.split(' ')))
    }
}

/// Fills the host's cache of compiled components: the memory of the compiler must not count
/// as that of the host.
fn compiled(host: Host) -> Result<Host> {
    let mut compile = Command::new(&host.program);
    compile.arg("compile").arg(&host.components);
    compile.arg("--cache").arg(host.folder.join("data/cache"));
    process::run(&mut compile)?;
    Ok(host)
}
