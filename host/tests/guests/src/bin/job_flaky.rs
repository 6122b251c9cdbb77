//! `FILE N`: a command that fails N times and then succeeds. Each run adds a line to FILE
//! and prints `run NUMBER`; it exits with 1 until there are more than N lines.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_default();
    let failures: usize = arguments
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(io::Error::other)?;
    let mut log = OpenOptions::new().create(true).append(true).open(&file)?;
    writeln!(log, "run")?;
    let runs = fs::read_to_string(&file)?.lines().count();
    writeln!(io::stdout(), "run {runs}")?;
    Ok(if runs > failures {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
