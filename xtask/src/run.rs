//! `cargo xtask run`: the shop on this machine, by the one command that anybody
//! could type.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::components;
use crate::process::{self, cargo};
use crate::workspace::Workspace;

/// Builds everything and becomes the host.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    components::build_services(workspace)?;
    build_host(workspace)?;
    let mut host = Command::new(near(workspace, &workspace.target.join("release/galleria")));
    host.current_dir(&workspace.root);
    host.args(["run", "deploy/shop", "--components"]);
    host.arg(near(workspace, &workspace.components()));
    host.args(arguments);
    println!("$ {}", process::text(&host));
    Err(host.exec()).context("cannot start the host")
}

/// Builds the host in release.
pub(crate) fn build_host(workspace: &Workspace) -> Result<()> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["build", "--release", "-p", "galleria"]);
    process::run(&mut command)
}

/// A path below the workspace's folder as it would be typed there.
fn near<'a>(workspace: &Workspace, path: &'a Path) -> &'a Path {
    path.strip_prefix(&workspace.root).unwrap_or(path)
}
