//! `cargo xtask run`: runs the shop on this machine with the same command that you could
//! type.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::components;
use crate::process::{self, cargo};
use crate::workspace::Workspace;

/// The cargo profile that builds fastest.
const PROFILE: &str = "local";

/// Builds everything and replaces itself with the host.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    components::build_services(workspace)?;
    build(workspace, PROFILE)?;
    let program = workspace.target.join(PROFILE).join("galleria");
    let mut host = Command::new(near(workspace, &program));
    host.current_dir(&workspace.root);
    host.args(["run", "deploy/shop", "--components"]);
    host.arg(near(workspace, &workspace.components()));
    host.args(arguments);
    println!("$ {}", process::text(&host));
    Err(host.exec()).context("cannot start the host")
}

/// Builds the release profile of the host.
pub(crate) fn build_host(workspace: &Workspace) -> Result<()> {
    build(workspace, "release")
}

fn build(workspace: &Workspace, profile: &str) -> Result<()> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["build", "--profile", profile, "-p", "galleria"]);
    process::run(&mut command)
}

/// A path below the workspace's folder, relative to that folder.
fn near<'a>(workspace: &Workspace, path: &'a Path) -> &'a Path {
    path.strip_prefix(&workspace.root).unwrap_or(path)
}
