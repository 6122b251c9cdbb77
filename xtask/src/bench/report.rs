//! The results: `loadtest/results.md` for people, `results.json` for comparisons.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::contender::Round;
use super::fairness::{Fairness, Percentiles};
use super::shop::Shop;
use super::{hello, product, telemetry};
use crate::process::read;

pub(super) const TELEMETRY_HELLO: &str = "telemetry of hello";
pub(super) const TELEMETRY_PRODUCT: &str = "telemetry of the product page";

/// All measurements, and the machine.
#[derive(Debug)]
pub(super) struct Report {
    machine: String,
    rounds: usize,
    seconds: u64,
    pub(super) races: Vec<Race>,
    pub(super) shop: Option<Shop>,
    pub(super) fairness: Option<Fairness>,
}

/// A race: every contender with its rounds.
#[derive(Debug)]
pub(super) struct Race {
    pub(super) name: &'static str,
    pub(super) results: Vec<(&'static str, Vec<Round>)>,
}

/// A target, and whether it was reached.
struct Target {
    what: &'static str,
    wanted: String,
    got: String,
    met: bool,
}

impl Report {
    pub(super) fn new(rounds: usize, seconds: u64) -> Result<Self> {
        let cores = thread::available_parallelism()?;
        let kernel = read(Command::new("uname").arg("-srm"))?;
        let date = read(Command::new("date").args(["-u", "+%F"]))?;
        let machine = format!("{}, {cores} cores, {}", date.trim(), kernel.trim());
        Ok(Self {
            machine,
            rounds,
            seconds,
            races: Vec::new(),
            shop: None,
            fairness: None,
        })
    }

    /// Writes both files.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let file = folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("results.md", self.markdown())?;
        write("results.json", format!("{:#}\n", self.json()))
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("# Benchmark results\n\n");
        let _ = writeln!(
            text,
            "Created by `cargo xtask bench` ({}). Each contender was measured {} times for {} s, \
             with load generator and server on the same machine. The figures are medians; only \
             the ratios between them apply to other machines.\n",
            self.machine, self.rounds, self.seconds,
        );
        for race in &self.races {
            race.table(&mut text);
        }
        if let Some(shop) = &self.shop {
            let _ = writeln!(
                text,
                "## the shop, idle\n\n| | |\n| --- | ---: |\n| resident memory | {:.0} MiB |\n| \
                 from start to ready, components in the cache | {:.0} ms |\n",
                shop.resident_mebibytes(),
                shop.ready_milliseconds,
            );
        }
        if let Some(fairness) = &self.fairness {
            let _ = writeln!(
                text,
                "## a light service next to one that computes\n\n| the neighbour | p99 alone | p99 \
                 next to it | factor |\n| --- | ---: | ---: | ---: |\n| `limits.cpu: 200m` | {} |\n\
                 | no limit | {} |\n",
                fairness.limited, fairness.unlimited,
            );
        }
        text.push_str("## targets\n\n| | target | result | |\n| --- | ---: | ---: | --- |\n");
        for Target {
            what,
            wanted,
            got,
            met,
        } in self.targets()
        {
            let verdict = if met { "met" } else { "missed" };
            let _ = writeln!(text, "| {what} | {wanted} | {got} | {verdict} |");
        }
        text
    }

    fn json(&self) -> Value {
        let races = self
            .races
            .iter()
            .map(|race| (race.name.to_owned(), race.json()));
        json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "races": races.collect::<serde_json::Map<_, _>>(),
            "fairness": self.fairness.map(|fairness| json!({
                "limited": fairness.limited.json(),
                "unlimited": fairness.unlimited.json(),
            })),
            "shop": self.shop.as_ref().map(|shop| json!({
                "resident_bytes": shop.resident_bytes,
                "ready_milliseconds": shop.ready_milliseconds,
            })),
        })
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn targets(&self) -> Vec<Target> {
        let ratio = |race: &str, what, name, other, factor: f64| {
            let race = self.races.iter().find(|candidate| candidate.name == race)?;
            let got = race.requests_per_second(name)? / race.requests_per_second(other)?;
            let met = got >= factor;
            Some(Target {
                what,
                wanted: format!("≥ {factor} ×"),
                got: format!("{got:.2} ×"),
                met,
            })
        };
        let mut targets: Vec<_> = [
            ratio(
                "hello",
                "hello, against `wasmtime serve` with reuse",
                hello::GALLERIA,
                hello::REUSED,
                1.0,
            ),
            ratio(
                "product page",
                "product page, against Envoy",
                product::GALLERIA,
                product::ENVOY,
                4.0,
            ),
            ratio(
                "product page",
                "product page, against native",
                product::GALLERIA,
                product::NATIVE,
                0.5,
            ),
            ratio(
                TELEMETRY_HELLO,
                "hello, all telemetry against none",
                telemetry::ON,
                telemetry::OFF,
                0.9,
            ),
            ratio(
                TELEMETRY_PRODUCT,
                "product page, all telemetry against none",
                telemetry::ON,
                telemetry::OFF,
                0.9,
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(shop) = &self.shop {
            let limit = |what, unit: &str, limit: f64, got: f64| Target {
                what,
                wanted: format!("≤ {limit} {unit}"),
                got: format!("{got:.0} {unit}"),
                met: got <= limit,
            };
            targets.push(limit(
                "the shop's resident memory",
                "MiB",
                80.0,
                shop.resident_mebibytes(),
            ));
            targets.push(limit(
                "from start to ready",
                "ms",
                200.0,
                shop.ready_milliseconds,
            ));
        }
        if let Some(fairness) = &self.fairness {
            let factor = fairness.limited.factor();
            targets.push(Target {
                what: "the light service's p99, next to a limited neighbour",
                wanted: "≤ 1.5 ×".into(),
                got: format!("{factor:.2} ×"),
                met: factor <= 1.5,
            });
        }
        targets
    }
}

impl Percentiles {
    fn json(&self) -> Value {
        json!({
            "p99_alone_milliseconds": self.alone_milliseconds,
            "p99_beside_milliseconds": self.beside_milliseconds,
        })
    }
}

impl Race {
    fn requests_per_second(&self, contender: &str) -> Option<f64> {
        let (_, rounds) = self.results.iter().find(|(name, _)| *name == contender)?;
        Some(median_of(rounds, |round| round.requests_per_second))
    }

    fn table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "## {}\n\n| | requests/s at 32 connections | ratio | p99 | p50 at 1 connection | idle \
             memory | errors |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            self.name,
        );
        let first = self.results.first().map_or(1.0, |(_, rounds)| rate(rounds));
        for (name, rounds) in &self.results {
            let _ = writeln!(
                text,
                "| {name} | {:.0} | {:.2} | {:.2} ms | {:.3} ms | {:.0} MiB | {} |",
                rate(rounds),
                rate(rounds) / first,
                median_of(rounds, |round| round.p99.as_secs_f64() * 1000.0),
                median_of(rounds, |round| round.p50_alone.as_secs_f64() * 1000.0),
                median_of(rounds, mebibytes),
                rounds.iter().map(|round| round.errors).sum::<u64>(),
            );
        }
        text.push('\n');
    }

    fn json(&self) -> Value {
        let rounds = |rounds: &Vec<Round>| {
            let round = |round: &Round| {
                json!({
                    "requests_per_second": round.requests_per_second,
                    "p99_milliseconds": round.p99.as_secs_f64() * 1000.0,
                    "p50_alone_milliseconds": round.p50_alone.as_secs_f64() * 1000.0,
                    "resident_bytes": round.resident_bytes,
                    "errors": round.errors,
                })
            };
            rounds.iter().map(round).collect::<Value>()
        };
        let results = self
            .results
            .iter()
            .map(|(name, all)| ((*name).to_owned(), rounds(all)));
        Value::Object(results.collect())
    }
}

impl Shop {
    fn resident_mebibytes(&self) -> f64 {
        self.resident_bytes / f64::from(1 << 20)
    }
}

fn rate(rounds: &[Round]) -> f64 {
    median_of(rounds, |round| round.requests_per_second)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "memory of a process is far below 2^52"
)]
fn mebibytes(round: &Round) -> f64 {
    round.resident_bytes as f64 / f64::from(1 << 20)
}

fn median_of(rounds: &[Round], value: impl Fn(&Round) -> f64) -> f64 {
    median(&rounds.iter().map(value).collect::<Vec<_>>())
}

/// The middle value, or the mean of the two middle values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_is_the_middle_value() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
