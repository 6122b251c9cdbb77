//! The project's task runner: `cargo xtask --help`.
//!
//! Each task is a few ordinary commands in a fixed order, which are printed as they run,
//! so that everything can also be done manually.

#![allow(clippy::print_stdout, reason = "a task runner talks to a terminal")]

mod bench;
mod bundled;
mod components;
mod conformance;
mod deployment;
mod envoy;
mod fuzz;
mod galleria;
mod go;
mod graph;
mod guests;
mod image;
mod javascript;
mod k6;
mod loadtest;
mod prerequisites;
mod process;
mod python;
mod run;
mod sbom;
mod server;
mod steps;
mod test;
mod wasm_target;
mod workspace;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's task runner.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the services as WebAssembly components into target/components.
    BuildServices,
    /// Builds the guests of the host's tests into target/test-components.
    BuildGuests,
    /// Builds services and host in release and starts the shop.
    Run {
        /// Further arguments for `galleria run`, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Builds the container image with docker, podman or buildah.
    Image(image::Options),
    /// Writes what the container image is made of, as a CycloneDX document.
    Sbom(sbom::Options),
    /// Checks the dependencies against RustSec's advisories; needs the network.
    Advisories,
    /// Runs every check and every test of the project.
    Test(test::Options),
    /// Tests the container image and the rest of deploy/; part of the tests.
    TestDeploy(deployment::Options),
    /// Fuzzes the reader and the matchers; part of the tests.
    Fuzz(fuzz::Options),
    /// Compares the mesh with Istio.
    Conformance {
        #[command(subcommand)]
        reference: conformance::Reference,
    },
    /// Runs k6 against the shop: smoke, load, stress, spike, soak, canary or failure.
    Loadtest(loadtest::Options),
    /// Benchmarks the host against others; results go to loadtest/.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let workspace = Workspace::find()?;
    match arguments.task {
        Task::BuildServices => components::build_services(&workspace),
        Task::BuildGuests => guests::build_guests(&workspace),
        Task::Run { arguments } => run::run(&workspace, &arguments),
        Task::Image(options) => image::build(&workspace, &options),
        Task::Sbom(options) => sbom::run(&workspace, &options),
        Task::Advisories => test::advisories(&workspace),
        Task::Test(options) => test::run(&workspace, &options),
        Task::TestDeploy(options) => deployment::run(&workspace, &options),
        Task::Fuzz(options) => fuzz::run(&workspace, &options),
        Task::Conformance { reference } => conformance::run(&workspace, &reference),
        Task::Loadtest(options) => loadtest::run(&workspace, &options),
        Task::Bench(options) => bench::run(&workspace, &options),
    }
}
