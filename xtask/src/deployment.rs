//! `cargo xtask test-deploy`: tests the content of `deploy/`.
//!
//! Containers run with podman, in a separate storage below `target` and with settings
//! that also work inside another container. The tests are in `xtask/tests/deploy`.

mod base;
mod kubectl;
mod podman;

use std::process::Command;

use anyhow::Result;

use crate::prerequisites::{self, CONTAINERS, PROMETHEUS};
use crate::python::Environment;
use crate::test::Totals;
use crate::workspace::Workspace;
use crate::{k6, process, test};

use podman::Podman;

/// Contains the schemas of Kubernetes' own kinds.
const VALIDATE: &str = "kubernetes-validate==1.37.0";

/// Which of the tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only tests whose name contains this: image, for example
    filter: Option<String>,
}

/// Builds the host without optimization, then runs the tests.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    process::run(&mut workspace.build(&["galleria"]))?;
    test(workspace, options.filter.as_deref(), &mut Totals::default())
}

/// Runs the tests with the host in `target/debug`.
pub(crate) fn test(workspace: &Workspace, filter: Option<&str>, totals: &mut Totals) -> Result<()> {
    prerequisites::ensure(&[CONTAINERS, PROMETHEUS])?;
    let podman = Podman::of(workspace)?;
    // Leftovers of earlier runs: build stages, and images that lost their name.
    read(podman.command().args(["image", "prune", "--force"]))?;
    base::ensure(workspace, &podman)?;
    let schemas = Environment::of(workspace, "kubernetes-validate")?;
    schemas.install(VALIDATE)?;
    let mut test = process::cargo();
    test.current_dir(&workspace.root);
    test.args(["test", "--workspace", "--test", "deploy"]);
    test.args(filter).args(["--", "--test-threads", "2"]);
    podman.environment(&mut test);
    test.env("PATH", kubectl::path(workspace)?);
    test.env("KUBERNETES_VALIDATE", schemas.program("python"));
    test.env("K6", k6::install(workspace)?);
    test::counted(&mut test, totals)
}

/// Runs a command; if it fails, the error contains its error output.
fn read(command: &mut Command) -> Result<String> {
    println!("$ {}", process::text(command));
    process::read(command)
}
