//! The command line.

mod backup;
mod ca;
mod canary;
mod check;
mod compile;
mod explain;
mod healthcheck;
mod kubeconfig;
mod run;
mod secrets;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::causes::with_causes;
use crate::settings::RunSettings;
use crate::terminal::eprint;

/// Microservices under one roof: runs WebAssembly components behind a service mesh,
/// configured by the Kubernetes and Istio YAML that you already have.
#[derive(Debug, Parser)]
#[command(
    name = "galleria",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success, 1 an error in the input or at run time, 2 wrong usage.\n\nExamples:\n  galleria run deploy/shop --components target/components\n  galleria check deploy/shop\n  galleria explain deploy/shop --url http://localhost/ui -H 'user-agent: Firefox'\n  galleria status\n  export KUBECONFIG=$(galleria kubeconfig); kubectl get pods -A"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything that the manifests declare; ctrl-c drains and stops
    Run(Box<RunSettings>),
    /// Check the manifests and report all problems
    Check {
        /// Files and folders with Kubernetes and Istio YAML
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        settings: check::Settings,
    },
    /// Explain how a request is handled, step by step, with file and line: from manifests, or on the running host
    Explain(Box<explain::Arguments>),
    /// Show the running host on one page: listeners, workloads, routes, problems
    Status {
        /// The data folder of the host to query
        #[arg(
            long,
            value_name = "DIR",
            default_value = ".galleria",
            env = "GALLERIA_DATA"
        )]
        data: PathBuf,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Shift requests to a new version, or back, on the running host
    Canary(Box<canary::Arguments>),
    /// Make, show and rotate the certificate authority that proves workloads to other hosts
    Ca(Box<ca::Arguments>),
    /// Compile components to native code, for a fast first start
    Compile {
        /// The folder passed to `run` as --components
        #[arg(value_name = "DIR", default_value = "components")]
        components: PathBuf,
        /// Where compiled code is stored; `run` on the same kind of machine finds it there
        #[arg(
            long,
            value_name = "DIR",
            default_value = ".galleria/cache",
            env = "GALLERIA_CACHE"
        )]
        cache: PathBuf,
    },
    /// Check whether a running host is ready: for container health checks
    Healthcheck {
        /// Its status port
        #[arg(
            long,
            value_name = "ADDRESS",
            default_value = "127.0.0.1:15020",
            env = "GALLERIA_STATUS"
        )]
        status: SocketAddr,
        /// Check only whether it is alive, not whether every workload is ready
        #[arg(long)]
        live: bool,
    },
    /// Encrypt the Secrets of a manifest for its files, or decrypt them
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// Copy the databases of the running host's claims into a new folder
    Backup {
        /// The folder to create
        #[arg(value_name = "DIR")]
        to: PathBuf,
        /// The data folder of the host to query
        #[arg(
            long,
            value_name = "DIR",
            default_value = ".galleria",
            env = "GALLERIA_DATA"
        )]
        data: PathBuf,
    },
    /// Write a kubeconfig for the running host and print its path
    Kubeconfig {
        /// The data folder of the host
        #[arg(
            long,
            value_name = "DIR",
            default_value = ".galleria",
            env = "GALLERIA_DATA"
        )]
        data: PathBuf,
        /// Where to write it [default: a file in the data folder]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// With the read-only token, which does not allow reading Secrets
        #[arg(long)]
        read_only: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs the command that the command line names.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(settings) => run::run(*settings),
        Command::Check { paths, settings } => check::check(paths, &settings),
        Command::Secrets(command) => secrets::run(&command),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Ca(arguments) => ca::run(&arguments),
        Command::Canary(arguments) => canary::run(&arguments),
        Command::Status { data, output } => status::status(&data, output == Output::Json),
        Command::Compile { components, cache } => compile::compile(&components, &cache),
        Command::Healthcheck { status, live } => healthcheck::healthcheck(status, live),
        Command::Backup { to, data } => backup::backup(&data, &to),
        Command::Kubeconfig {
            data,
            output,
            read_only,
        } => kubeconfig::kubeconfig(&data, output, read_only),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprint(&format!("error: {}", with_causes(error.as_ref())));
            ExitCode::from(1)
        }
    }
}
