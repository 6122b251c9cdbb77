//! The results of all races: `loadtest/results.json`, and what is drawn from it.

mod chart;
mod format;
mod markdown;
mod model;
mod store;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(super) use model::{LOAD, Metric, Sample, Table};

use super::RaceName;
use crate::process::read;

const CHART: &str = "results.svg";

/// The latest results of each race, in the order of the report.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    races: BTreeMap<RaceName, Results>,
}

/// The results of a race, which may be from another day than those of the next one.
#[derive(Debug, Serialize, Deserialize)]
struct Results {
    /// The command that repeats the race.
    command: String,
    machine: String,
    tables: Vec<Table>,
}

impl Report {
    /// Replaces the results of a race.
    pub(super) fn add(
        &mut self,
        race: RaceName,
        command: String,
        tables: Vec<Table>,
    ) -> Result<()> {
        let results = Results {
            command,
            machine: machine()?,
            tables,
        };
        self.races.insert(race, results);
        Ok(())
    }

    pub(super) fn markdown(&self) -> String {
        markdown::write(self)
    }

    fn table(&self, key: &str) -> Option<&Table> {
        let mut tables = self.races.values().flat_map(|results| &results.tables);
        tables.find(|table| table.key == key)
    }
}

/// Date, revision and machine.
fn machine() -> Result<String> {
    let said = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(read(Command::new(program).args(arguments))?
            .trim()
            .to_owned())
    };
    let date = said("date", &["-u", "+%F"])?;
    let revision = said("git", &["describe", "--always", "--dirty"]).unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = thread::available_parallelism()?;
    let kernel = said("uname", &["-sr"])?;
    Ok(format!(
        "{date}, revision {revision}, {cores} cores of {}, {kernel}",
        model.unwrap_or("an unknown processor"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::product;

    fn report() -> Report {
        let sample = |cpu| Sample::from([(Metric::CpuMicrosecondsPerRequest, cpu)]);
        let mut table = Table::new(product::BUSY, "Product page", "Two services.")
            .columns(&[Metric::CpuMicrosecondsPerRequest])
            .compared(&[Metric::CpuMicrosecondsPerRequest], product::NATIVE);
        for cpu in [300.0, 330.0, 270.0] {
            table.add(product::GALLERIA, sample(cpu));
            table.add(product::NATIVE, sample(150.0));
        }
        let results = Results {
            command: "cargo xtask bench product".into(),
            machine: "2026-01-31, 2 cores".into(),
            tables: vec![table],
        };
        Report {
            races: BTreeMap::from([(RaceName::Product, results)]),
        }
    }

    #[test]
    fn page_has_medians_ratios_and_targets() {
        let page = report().markdown();
        for line in [
            "| Product page | CPU µs per request: galleria, against native, without a mesh \
             | ≤ 1 × | 2 × (1.80–2.20) | **missed** |",
            "`cargo xtask bench product`, 2026-01-31, 2 cores. Ratios are to *native, without a \
             mesh*.",
            "|  | CPU µs per request | ratio |",
            "| galleria | 300 | 2 × (1.80–2.20) |",
        ] {
            assert!(page.contains(&format!("{line}\n")), "no {line} in\n{page}");
        }
    }

    #[test]
    fn results_of_an_earlier_run_are_read() {
        let json = serde_json::to_string(&report()).unwrap();
        let read: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(read.markdown(), report().markdown());
    }
}
