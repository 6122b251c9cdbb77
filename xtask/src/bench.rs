//! `cargo xtask bench`: compares the host with other servers, and with itself under other
//! conditions.
//!
//! Figures from one machine at one time are not meaningful alone, so the contenders of a
//! race run in turn (A B A B), and medians and ratios with their spread are reported. Load
//! generator and server share the machine, which is the same for all. CPU time and context
//! switches per request vary much less than throughput.

mod contender;
mod density;
mod envoy;
mod fairness;
mod handshakes;
mod hello;
mod load;
mod manifests;
mod memory;
mod open_loop;
mod overload;
mod plan;
mod product;
mod reload;
mod report;
mod rules;
mod security;
mod shop;
mod telemetry;
mod usage;
mod writes;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::prerequisites::{self, PYTHON, WRK};
use crate::workspace::Workspace;
use plan::Plan;
use report::{Report, Table};

/// What to measure, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often each contender is measured [default: 3; with --quick: 1].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each measurement lasts, in seconds [default: 8; with --quick: 1].
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Short measurements and smaller sizes: about three minutes for all races. The
    /// figures are rough; implies --dry-run.
    #[arg(long)]
    quick: bool,
    /// Only these races; all of them by default. The results of the others are kept.
    #[arg(value_enum, value_name = "RACE")]
    only: Vec<RaceName>,
    /// Only contenders whose name contains this; implies --dry-run.
    #[arg(long, value_name = "TEXT")]
    contender: Option<String>,
    /// Write the results to target/bench/results and not to loadtest/.
    #[arg(long)]
    dry_run: bool,
    /// Use the programs and components that are in the target folder.
    #[arg(long)]
    no_build: bool,
}

/// The races, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RaceName {
    /// A product page: one service that calls another, each with SQLite.
    Product,
    /// The same at a constant rate.
    OpenLoop,
    /// Memory and threads after a minute of product pages.
    Memory,
    /// One component that says hello: reused, fresh for each request, WASI 0.3.
    Hello,
    /// The host with all of its metrics, logs and traces, and without them.
    Telemetry,
    /// A light service with a neighbour that computes, with a CPU limit and without.
    Fairness,
    /// Three times as many requests as the host can serve.
    Overload,
    /// 100 changes of the manifests a minute, under load.
    Reload,
    /// SQLite writes by one writer and by 32.
    Writes,
    /// 10 to 10,000 routing rules.
    Rules,
    /// The product page with a token, 20 policies and mutual TLS, and without.
    Security,
    /// New connections with TLS at the gateway, and in Envoy.
    Handshakes,
    /// 1 to 1,000 workloads.
    Density,
    /// The idle shop: memory, and time from start to ready.
    Shop,
}

/// Runs the races and writes the results.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    prerequisites::ensure(&[WRK, PYTHON])?;
    let (folder, mut report) = if options.is_trial() {
        (workspace.scratch("bench/results")?, Report::default())
    } else {
        let folder = workspace.root.join("loadtest");
        let report = Report::read(&folder);
        (folder, report)
    };
    let plan = Plan::new(workspace, options);
    let mut failed = Vec::new();
    for race in RaceName::value_variants() {
        if !options.only.is_empty() && !options.only.contains(race) {
            continue;
        }
        println!("=== {}", race.name());
        // One that fails must not cost the results of the others.
        match race.run(&plan) {
            Ok(tables) => {
                report.add(*race, plan.command(&race.name()), tables)?;
                report.write(&folder)?;
            }
            Err(error) => {
                println!("    {} failed: {error:?}", race.name());
                failed.push(race.name());
            }
        }
    }
    println!("\n{}", report.markdown());
    if options.quick {
        println!("These are rough figures of a quick run, no results.");
    }
    println!("Written to {}", folder.display());
    if !failed.is_empty() {
        bail!("failed races: {}", failed.join(", "));
    }
    Ok(())
}

impl Options {
    /// Whether the figures are not for loadtest/.
    fn is_trial(&self) -> bool {
        self.dry_run || self.quick || self.contender.is_some()
    }
}

impl RaceName {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, plan: &Plan) -> Result<Vec<Table>> {
        match self {
            Self::Product => product::race(plan),
            Self::OpenLoop => open_loop::race(plan),
            Self::Memory => memory::race(plan),
            Self::Hello => hello::race(plan),
            Self::Telemetry => telemetry::race(plan),
            Self::Fairness => fairness::race(plan),
            Self::Overload => overload::race(plan),
            Self::Reload => reload::race(plan),
            Self::Writes => writes::race(plan),
            Self::Rules => rules::race(plan),
            Self::Security => security::race(plan),
            Self::Handshakes => handshakes::race(plan),
            Self::Density => density::race(plan),
            Self::Shop => shop::race(plan),
        }
    }
}
