//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/` for a fixed number of inputs.
//!
//! The instrumentation is enabled by flags of the stable compiler, so only a C++ compiler
//! is needed. `cargo fuzz run -s none TARGET` works too, for any length of time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::prerequisites::{self, CXX};
use crate::process::{self, cargo, read};
use crate::workspace::Workspace;

/// Lets libFuzzer see which code an input reaches.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1";

/// Each target with the folders of its seed corpus and its number of inputs, for about
/// ten seconds.
const TARGETS: [(&str, &[&str], u32); 8] = [
    (
        "manifest",
        &["deploy/shop", "host/manifest/tests/malformed"],
        8_000,
    ),
    ("http_head", &["fuzz/seeds/http_head"], 800_000),
    ("matching", &["fuzz/seeds/matching"], 8_000),
    ("path", &["fuzz/seeds/path"], 200_000),
    ("sql", &["fuzz/seeds/sql"], 150_000),
    ("token", &["fuzz/seeds/token"], 300_000),
    ("certificate", &["fuzz/seeds/certificate"], 300_000),
    ("policies", &["fuzz/seeds/policies"], 4_000),
];

/// How much to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seed of the random number generator
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u32,
    /// Multiple of the number of inputs that the tests use
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    times: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, times: 1 }
    }
}

/// Runs every target; fails with the first input that breaks one.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    prerequisites::ensure(&[CXX])?;
    let host = host()?;
    let built = workspace.root.join("target/fuzz");
    let mut build = cargo();
    build
        .current_dir(workspace.root.join("fuzz"))
        .env("RUSTFLAGS", INSTRUMENTATION)
        .args(["build", "--release", "--locked", "--target", &host])
        .arg("--target-dir")
        .arg(&built);
    process::run(&mut build)?;
    for (target, seeds, inputs) in TARGETS {
        let program = built.join(&host).join("release").join(target);
        let corpus = corpus(workspace, target, seeds)?;
        let mut fuzz = Command::new(program);
        fuzz.current_dir(&built)
            .arg(format!("-runs={}", inputs.saturating_mul(options.times)))
            .arg(format!("-seed={}", options.seed))
            .args(["-max_len=8192", "-timeout=20", "-rss_limit_mb=2048"])
            .args(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1"])
            .arg(corpus);
        process::run(&mut fuzz).with_context(|| {
            format!(
                "{target} failed; the input is the crash- or timeout-file in {}",
                built.display()
            )
        })?;
    }
    Ok(())
}

/// A separate folder, so that new inputs are not written to the sources.
fn corpus(workspace: &Workspace, target: &str, seeds: &[&str]) -> Result<PathBuf> {
    let folder = workspace.root.join("target/fuzz/corpus").join(target);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for seeds in seeds {
        let seeds = workspace.root.join(seeds);
        let entries = fs::read_dir(&seeds).with_context(|| seeds.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "snap") {
                copy(&path, &folder)?;
            }
        }
    }
    Ok(folder)
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    if file.is_file() {
        fs::copy(file, folder.join(name))?;
    }
    Ok(())
}

/// The compiler's own target. If it is named explicitly, build scripts and macros are not
/// instrumented.
fn host() -> Result<String> {
    let version = read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc reports no host")?.to_owned())
}
