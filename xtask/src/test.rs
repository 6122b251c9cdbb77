//! `cargo xtask test`: everything that must pass before a change is merged.
//!
//! The compiler's environment is the same in every step (warnings are denied through
//! clippy, not by `RUSTFLAGS`); otherwise each step would rebuild all dependencies.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::prerequisites::{
    self, CARGO_DENY, CHROMIUM, KUBECTL, NGHTTP, NODE, POSTGRESQL, PROMETHEUS, Prerequisite,
    REGISTRY,
};
use crate::process::{self, cargo};
use crate::steps::Steps;
use crate::wasm_target::{self, TARGET};
use crate::workspace::{Workspace, selection};
use crate::{bundled, components, deployment, envoy, fuzz, guests, loadtest};

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only build, and run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT", conflicts_with = "only")]
    filter: Option<String>,
    /// Run only one part.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
}

/// The parts that can run alone; `cargo xtask test-deploy` is the remainder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Format, lints and documentation.
    Lint,
    /// Bans, licences and sources of the dependencies, and the C code in them.
    Dependencies,
    /// Advisories published since the dependencies were chosen. They need the network, so
    /// they are not part of the full run.
    Advisories,
    /// The tests, short load tests, alert rules and fuzzing.
    Tests,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        match (self.only, part) {
            (Some(only), part) => only == part,
            (None, Part::Advisories) => false,
            (None, Part::Tests) => true,
            (None, _) => self.filter.is_none(),
        }
    }

    fn is_everything(&self) -> bool {
        self.only.is_none() && self.filter.is_none()
    }

    fn prerequisites(&self) -> Vec<Prerequisite> {
        let mut wanted = Vec::new();
        if self.wants(Part::Dependencies) || self.wants(Part::Advisories) {
            wanted.push(CARGO_DENY);
        }
        if self.wants(Part::Tests) {
            wanted.extend([
                NODE, REGISTRY, KUBECTL, PROMETHEUS, POSTGRESQL, CHROMIUM, NGHTTP,
            ]);
        }
        wanted
    }
}

/// Runs everything, or the selected part; stops at the first step that fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let mut totals = Totals::default();
    steps.step("prerequisites", || {
        wasm_target::ensure()?;
        prerequisites::ensure(&options.prerequisites())
    })?;
    if options.wants(Part::Lint) {
        lint(workspace, &mut steps)?;
    }
    if options.wants(Part::Dependencies) {
        steps.step("dependencies", || dependencies(workspace))?;
        steps.step("bundled C code", || bundled::check(workspace))?;
    }
    if options.wants(Part::Advisories) {
        steps.step("advisories", || advisories(workspace))?;
    }
    if options.wants(Part::Tests) {
        tests(
            workspace,
            options.filter.as_deref(),
            &mut steps,
            &mut totals,
        )?;
    }
    if options.is_everything() {
        steps.step("deployment", || {
            deployment::test(workspace, None, &mut totals)
        })?;
    }
    steps.summary();
    if options.wants(Part::Tests) {
        println!("\n{} passed, {} failed", totals.passed, totals.failed);
    }
    Ok(())
}

fn lint(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
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
    })
}

/// Fetches RustSec's database, which is a git repository, and checks the dependencies.
pub(crate) fn advisories(workspace: &Workspace) -> Result<()> {
    prerequisites::ensure(&[CARGO_DENY])?;
    bundled::check(workspace)?;
    let mut deny = here(workspace);
    deny.args(["deny", "check", "--hide-inclusion-graph", "advisories"]);
    process::run(&mut deny).context(
        "if the database cannot be fetched here, run `cargo xtask advisories` where \
         https://github.com/rustsec/advisory-db can be reached",
    )
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    // Also the dependencies for other systems, which are not compiled here.
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
}

/// Builds the artifacts that tests need and runs the tests; with a filter, skips the
/// steps that cannot be filtered.
fn tests(
    workspace: &Workspace,
    filter: Option<&str>,
    steps: &mut Steps,
    totals: &mut Totals,
) -> Result<()> {
    steps.step("services", || components::build_services(workspace))?;
    steps.step("test guests", || guests::build_guests(workspace))?;
    let mut envoy = PathBuf::new();
    steps.step("Envoy", || {
        envoy = envoy::install(workspace)?;
        Ok(())
    })?;
    steps.step("tests", || {
        let mut test = test_command(workspace);
        test.env("GALLERIA_TEST_ENVOY", &envoy);
        test.arg("--workspace").args(filter);
        counted(&mut test, totals)
    })?;
    if filter.is_some() {
        return Ok(());
    }
    steps.step("traffic between hosts", || {
        let mut test = test_command(workspace);
        test.env("GALLERIA_TEST_TOPOLOGY", "apart");
        test.args(["--workspace", "--test", "binary", "traffic::"]);
        counted(&mut test, totals)
    })?;
    steps.step("load tests", || loadtest::test(workspace))?;
    steps.step("alert rules", || alert_rules(workspace))?;
    steps.step("fuzzing", || {
        fuzz::run(workspace, &fuzz::Options::default())
    })
}

/// Unit tests of the alert rules.
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

fn test_command(workspace: &Workspace) -> Command {
    let mut test = here(workspace);
    test.env("GALLERIA_TEST_COMPONENTS", workspace.test_components());
    test.env("GALLERIA_SHOP_COMPONENTS", workspace.components());
    test.arg("test");
    test
}

/// Runs tests, shows their output and adds up their results.
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

/// The sum of the results of all test programs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    passed: u32,
    failed: u32,
}

impl Totals {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; …`.
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
    fn full_run_has_every_part_except_those_that_need_the_network() {
        let options = |filter: Option<&str>, only| Options {
            filter: filter.map(str::to_owned),
            only,
        };
        let parts = [
            Part::Lint,
            Part::Dependencies,
            Part::Advisories,
            Part::Tests,
        ];
        let wanted = |options: Options| parts.map(|part| options.wants(part));
        assert_eq!(wanted(options(None, None)), [true, true, false, true]);
        let filtered = options(Some("reload"), None);
        assert_eq!(wanted(filtered), [false, false, false, true]);
        for part in parts {
            let alone = options(None, Some(part));
            assert!(!alone.is_everything());
            assert_eq!(wanted(alone), parts.map(|it| it == part));
        }
    }

    #[test]
    fn results_of_all_test_programs_are_added_up() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        totals
            .add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!((totals.passed, totals.failed), (3, 3));
    }
}
