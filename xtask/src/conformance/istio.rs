//! Istio as the reference: `conformance/istio`.
//!
//! The folder has two programs. The judge is in Go, since Istio's control plane is a Go
//! module; the other one makes the cases, asks the judge and the mesh, and compares.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::go::Go;
use crate::process;
use crate::workspace::Workspace;
use crate::{envoy, guests, prerequisites, wasm_target};

/// How much to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Number of random sets of policies
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    policies: u32,
    /// Number of random configurations of routes
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    routes: u32,
    /// Also compare delegates, HTTPRoutes and failing services: not all differences there are
    /// explained yet
    #[arg(long)]
    extended: bool,
    /// Number of random requests for each of them
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    requests: u32,
    /// Number of objects with random changes
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    mutations: u32,
    /// Compare only `security`, `routing` or `validation`
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Seed of the random number generator
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Compare only the case with this number of each subject
    #[arg(long, value_name = "NUMBER")]
    only: Option<u32>,
    /// Number of differences to print
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    show: u32,
}

/// Builds what is needed, and compares.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    prerequisites::ensure(&[prerequisites::PYTHON])?;
    wasm_target::ensure()?;
    let envoy = envoy::install(workspace)?;
    let judge = judge(workspace)?;
    guests::build_rust(workspace)?;
    process::run(&mut workspace.build(&["galleria", "conformance-istio"]))?;
    let programs = workspace.target.join("debug");
    let mut compare = Command::new(programs.join("conformance-istio"));
    compare.current_dir(&workspace.root);
    compare.arg("--judge").arg(judge).arg("--envoy").arg(envoy);
    let work = workspace.target.join("conformance/istio");
    compare.arg("--work").arg(work);
    compare.arg("--galleria").arg(programs.join("galleria"));
    compare.arg("--components").arg(workspace.test_components());
    for (name, number) in [
        ("--policies", u64::from(options.policies)),
        ("--routes", u64::from(options.routes)),
        ("--requests", u64::from(options.requests)),
        ("--mutations", u64::from(options.mutations)),
        ("--seed", options.seed),
        ("--show", u64::from(options.show)),
    ] {
        compare.arg(name).arg(number.to_string());
    }
    if let Some(number) = options.only {
        compare.arg("--only").arg(number.to_string());
    }
    if options.extended {
        compare.arg("--extended");
    }
    if let Some(subject) = &options.subject {
        compare.arg("--subject").arg(subject);
    }
    process::run(&mut compare)
}

/// Builds the judge, once for each version of its sources.
fn judge(workspace: &Workspace) -> Result<PathBuf> {
    let go = Go::install(workspace)?;
    let module = workspace.root.join("conformance/istio");
    let folder = workspace.target.join("tools/istio-judge");
    go.build_once(&module, ".", &folder, &[])
}
