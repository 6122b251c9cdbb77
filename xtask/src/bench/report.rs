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

pub(super) use model::{Metric, Sample, Table};

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
