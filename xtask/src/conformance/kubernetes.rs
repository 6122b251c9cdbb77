//! Kubernetes as the reference: `conformance/cluster`.
//!
//! The module has two programs: Kubernetes' control plane, and the judge, which starts it and a
//! host, sends the same requests to both, and compares.

use std::process::Command;

use anyhow::Result;

use crate::go::Go;
use crate::process;
use crate::workspace::Workspace;
use crate::{guests, prerequisites, wasm_target};

/// The options of `go build` for the control plane, whose parts ask for their version.
const CONTROL_PLANE: [&str; 2] = [
    "-ldflags",
    "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2",
];

/// How much to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Compare only the cases whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Number of differences to print
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    show: u32,
}

/// Builds what is needed, and compares.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    prerequisites::ensure(&[prerequisites::PYTHON])?;
    wasm_target::ensure()?;
    let module = workspace.root.join("conformance/cluster");
    let tools = workspace.target.join("tools");
    let go = Go::install(workspace)?;
    let folder = tools.join("kubernetes");
    let cluster = go.build_once(&module, ".", &folder, &CONTROL_PLANE)?;
    let judge = go.build_once(&module, "./judge", &tools.join("kubernetes-judge"), &[])?;
    guests::build_rust(workspace)?;
    process::run(&mut workspace.build(&["galleria"]))?;
    let mut compare = Command::new(judge);
    compare.arg("--cluster").arg(cluster);
    compare
        .arg("--galleria")
        .arg(workspace.target.join("debug/galleria"));
    compare.arg("--components").arg(workspace.test_components());
    compare.arg("--tables").arg(module.join("table"));
    compare
        .arg("--work")
        .arg(workspace.target.join("conformance/kubernetes"));
    compare.arg("--only").arg(&options.only);
    process::run(compare.arg("--show").arg(options.show.to_string()))
}
