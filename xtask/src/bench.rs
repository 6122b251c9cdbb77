//! `cargo xtask bench`: compares the host with other servers.
//!
//! Figures from one machine at one time are not meaningful alone, so the contenders of a
//! race run in turn (A B A B), and only medians and ratios are reported. Load generator
//! and server share the machine, which is the same for all.

mod contender;
mod envoy;
mod fairness;
mod hello;
mod load;
mod product;
mod report;
mod shop;
mod telemetry;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::prerequisites::{self, PYTHON, WRK};
use crate::workspace::Workspace;
use contender::{Contender, Round};
use report::{Race, Report};

/// What to measure, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often each contender is measured.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// How long each measurement lasts, in seconds.
    #[arg(long, default_value_t = 8, value_name = "SECONDS")]
    seconds: u64,
    /// Only these races; all of them by default.
    #[arg(value_enum, value_name = "RACE")]
    only: Vec<RaceName>,
    /// Only contenders whose name contains this.
    #[arg(long, value_name = "TEXT")]
    contender: Option<String>,
    /// Print the results and do not change loadtest/results.*.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RaceName {
    /// One component that says hello.
    Hello,
    /// A product page: one service that calls another, each with SQLite.
    Product,
    /// The idle shop: memory, and time from start to ready.
    Shop,
    /// A light service next to one that computes, with a CPU limit and without.
    Fairness,
    /// The host with all of its metrics, logs and traces, and without them.
    Telemetry,
}

/// Runs the races and writes the results.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    prerequisites::ensure(&[WRK, PYTHON])?;
    let wanted = |race| options.only.is_empty() || options.only.contains(&race);
    let mut report = Report::new(options.rounds, options.seconds)?;
    if wanted(RaceName::Hello) {
        report.races.push(race(
            "hello",
            hello::contenders(workspace, &chosen(options))?,
            options,
        )?);
    }
    if wanted(RaceName::Product) {
        let contenders = product::contenders(workspace, &chosen(options))?;
        report
            .races
            .push(race("product page", contenders, options)?);
    }
    if wanted(RaceName::Shop) {
        report.shop = Some(shop::measure(workspace, options.rounds)?);
    }
    if wanted(RaceName::Fairness) {
        let length = Duration::from_secs(options.seconds);
        report.fairness = Some(fairness::measure(workspace, options.rounds, length)?);
    }
    if wanted(RaceName::Telemetry) {
        let contenders = telemetry::of_hello(workspace, &chosen(options))?;
        report
            .races
            .push(race(report::TELEMETRY_HELLO, contenders, options)?);
        let contenders = telemetry::of_product(workspace, &chosen(options))?;
        report
            .races
            .push(race(report::TELEMETRY_PRODUCT, contenders, options)?);
    }
    println!("\n{}", report.markdown());
    if !options.dry_run {
        report.write(&workspace.root.join("loadtest"))?;
    }
    Ok(())
}

/// Whether a contender takes part; the others are not built.
fn chosen(options: &Options) -> impl Fn(&str) -> bool {
    let text = options.contender.clone();
    move |name| text.as_ref().is_none_or(|text| name.contains(text))
}

fn race(name: &'static str, contenders: Vec<Contender>, options: &Options) -> Result<Race> {
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    for number in 1..=options.rounds {
        for (contender, rounds) in contenders.iter().zip(&mut rounds) {
            println!(
                "--- {name}, round {number} of {}: {}",
                options.rounds, contender.name
            );
            let round = contender
                .round(Duration::from_secs(options.seconds))
                .with_context(|| format!("{name}: {}", contender.name))?;
            println!("    {round}");
            rounds.push(round);
            // The cost of closed connections and dirty pages must not affect the next
            // turn.
            thread::sleep(Duration::from_secs(1));
        }
    }
    let names = contenders.into_iter().map(|contender| contender.name);
    Ok(Race {
        name,
        results: names.zip(rounds).collect(),
    })
}
