//! Compares the mesh with Istio: random policies and requests, decided by `galleria-mesh` and
//! by the judge, which is Istio's control plane with a real Envoy (`main.go`).
//!
//! Run it with `cargo xtask conformance istio`, which builds and installs the tools. Each
//! subject of the comparison is a module: [`security`], [`routing`] and [`validation`].

#![allow(clippy::print_stdout, reason = "a tool talks to a terminal")]

mod choice;
#[path = "../../../host/mesh/tests/simulation/issuer.rs"]
mod issuer;
mod judge;
mod routing;
mod security;
mod validation;

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
    /// Number of random configurations of routes
    #[arg(long, default_value_t = 300)]
    routes: usize,
    /// Also delegates, HTTPRoutes, DestinationRules for the same host, and services that are slow
    /// or fail: the differences there are not all explained yet
    #[arg(long)]
    extended: bool,
    /// Number of random objects with changes
    #[arg(long, default_value_t = 300)]
    mutations: usize,
    /// The only subject to compare: `security`, `routing` or `validation`
    #[arg(long)]
    subject: Option<String>,
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
    let is_asked = |subject: &str| arguments.subject.as_deref().is_none_or(|it| it == subject);
    if is_asked("validation") {
        let amount = validation::Amount {
            mutations: arguments.mutations,
            seed: arguments.security.seed,
            only: arguments.security.only,
            show: arguments.security.show,
        };
        validation::run(&judge, amount)?;
    }
    if is_asked("routing") {
        let amount = routing::Amount {
            cases: arguments.routes,
            extended: arguments.extended,
            requests: arguments.security.requests,
            seed: arguments.security.seed,
            only: arguments.security.only,
            show: arguments.security.show,
        };
        routing::run(&judge, amount)?;
    }
    if is_asked("security") {
        security::run(&judge, &arguments.security)?;
    }
    Ok(())
}
