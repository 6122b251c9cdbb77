//! Compares the mesh with Istio: random policies and requests, decided by `galleria-mesh` and
//! by the judge, which is Istio's control plane with a real Envoy (`main.go`).
//!
//! Run it with `cargo xtask conformance istio`, which builds and installs the tools. Each
//! subject of the comparison is a module; [`security`] is one.

#![allow(clippy::print_stdout, reason = "a tool talks to a terminal")]

#[path = "../../../host/mesh/tests/simulation/issuer.rs"]
mod issuer;
mod judge;
mod security;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Compares the mesh with Istio.
#[derive(Parser)]
struct Arguments {
    /// The judge, built from the Go module
    #[arg(long)]
    judge: PathBuf,
    /// The program of Envoy
    #[arg(long)]
    envoy: PathBuf,
    /// A folder for cases and answers
    #[arg(long)]
    work: PathBuf,
    #[command(flatten)]
    security: security::Options,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let judge = judge::Judge {
        program: arguments.judge,
        envoy: arguments.envoy,
        work: arguments.work,
    };
    security::run(&judge, &arguments.security)
}
