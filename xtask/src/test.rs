//! `cargo xtask test`: everything that must hold before a change lands.
//!
//! The environment of the compiler is the same in every step (warnings are
//! denied to clippy itself, not by `RUSTFLAGS`), or each step would build all
//! dependencies anew.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::prerequisites::{self, CARGO_DENY, KUBECTL, NODE, POSTGRESQL, PROMETHEUS, REGISTRY};
use crate::process::{self, cargo};
use crate::steps::Steps;
use crate::wasm_target::{self, TARGET};
use crate::workspace::{Workspace, selection};
use crate::{components, deployment, fuzz, guests, loadtest};

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only build, and run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs everything; stops at the first step that fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("prerequisites", || {
        wasm_target::ensure()?;
        prerequisites::ensure(&[NODE, CARGO_DENY, REGISTRY, KUBECTL, PROMETHEUS, POSTGRESQL])
    })?;
    if options.filter.is_none() {
        check(workspace, &mut steps)?;
    }
    steps.step("services", || components::build_services(workspace))?;
    steps.step("test guests", || guests::build_guests(workspace))?;
    let mut totals = Totals::default();
    steps.step("tests", || {
        tests(workspace, options.filter.as_deref(), &mut totals)
    })?;
    if options.filter.is_none() {
        steps.step("traffic between hosts", || {
            let mut test = test_command(workspace);
            test.env("GALLERIA_TEST_TOPOLOGY", "apart");
            test.args(["--package", "galleria", "--test", "binary", "traffic::"]);
            counted(&mut test, &mut totals)
        })?;
    }
    if options.filter.is_none() {
        steps.step("load tests", || loadtest::test(workspace))?;
        steps.step("deployment", || {
            deployment::test(workspace, None, &mut totals)
        })?;
        steps.step("alert rules", || alert_rules(workspace))?;
        steps.step("fuzzing", || {
            fuzz::run(workspace, &fuzz::Options::default())
        })?;
    }
    steps.summary();
    println!("\n{} passed, {} failed", totals.passed, totals.failed);
    Ok(())
}

fn check(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.step("format", || {
        process::run(here(workspace).args(["fmt", "--all", "--check"]))
    })?;
    steps.step("lints", || {
        let mut clippy = here(workspace);
        clippy.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]);
        process::run(&mut clippy)
    })?;
    steps.step("lints of the guests", || {
        let mut clippy = here(workspace);
        clippy.args(["clippy", "--target", TARGET, "--lib", "--bins"]);
        clippy
            .args(selection(&workspace.guests()))
            .args(["--", "-D", "warnings"]);
        process::run(&mut clippy)
    })?;
    steps.step("documentation", || {
        let mut doc = here(workspace);
        doc.env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--no-deps", "--lib"]);
        process::run(doc.args(selection(&workspace.host())))
    })?;
    steps.step("dependencies", || {
        // Those of other systems too, which nothing here compiles.
        process::run(here(workspace).args(["fetch", "--quiet"]))?;
        let mut deny = here(workspace);
        deny.args([
            "deny",
            "--offline",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]);
        process::run(&mut deny)
    })
}

/// What the rules mean is told by stories of series.
fn alert_rules(workspace: &Workspace) -> Result<()> {
    for arguments in [
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "rules_test.yaml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.current_dir(workspace.root.join("deploy/prometheus"));
        process::run(promtool.args(arguments))?;
    }
    Ok(())
}

fn tests(workspace: &Workspace, filter: Option<&str>, totals: &mut Totals) -> Result<()> {
    let mut test = test_command(workspace);
    test.arg("--workspace").args(filter);
    counted(&mut test, totals)
}

fn test_command(workspace: &Workspace) -> Command {
    let mut test = here(workspace);
    test.env("GALLERIA_TEST_COMPONENTS", workspace.test_components());
    test.env("GALLERIA_SHOP_COMPONENTS", workspace.components());
    test.arg("test");
    test
}

/// Runs tests, shows what they print and counts them.
pub(crate) fn counted(test: &mut Command, totals: &mut Totals) -> Result<()> {
    println!("$ {}", process::text(test));
    let mut child = test
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        totals.add(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{} passed, {} failed, and more may not have run",
            totals.passed,
            totals.failed
        );
    }
    if totals.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// What all test programs together said.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    passed: u32,
    failed: u32,
}

impl Totals {
    /// Counts a line such as `test result: ok. 12 passed; 0 failed; …`.
    fn add(&mut self, line: &str) {
        if !line.starts_with("test result: ") {
            return;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let before = |unit: &str| -> u32 {
            let number = words
                .windows(2)
                .find(|pair| pair[1] == unit)
                .map(|pair| pair[0].parse());
            number.and_then(Result::ok).unwrap_or(0)
        };
        self.passed += before("passed;");
        self.failed += before("failed;");
    }
}

fn here(workspace: &Workspace) -> Command {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_test_programs_add_up() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        totals
            .add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((totals.passed, totals.failed), (3, 3));
    }
}
