//! `cargo xtask loadtest SCRIPT`: runs a k6 script against the shop, and evaluates its
//! thresholds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::galleria::Host;
use crate::workspace::Workspace;
use crate::{components, k6, process, run};

/// Which script to run, and against which shop.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A script of loadtest/k6, without its extension.
    script: String,
    /// Address of a running shop; without it, one is built and started.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File for all results, as JSON.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Further arguments for `k6 run`, after `--`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs one script; fails when one of its thresholds is missed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let script = script(workspace, &options.script)?;
    let k6 = k6::install(workspace)?;
    let mut visits = visits(&k6);
    if let Some(summary) = &options.summary {
        visits
            .arg("-e")
            .arg(format!("SUMMARY={}", summary.display()));
    }
    visits.args(&options.arguments);
    if let Some(url) = &options.url {
        visits.arg("-e").arg(format!("BASE_URL={url}")).arg(&script);
        return process::run(&mut visits);
    }
    components::build_services(workspace)?;
    run::build_host(workspace)?;
    let release = workspace.target.join("release/galleria");
    run_against_own_shop(workspace, release, &script, &mut visits)
}

/// Runs the short scripts on the host that the tests use.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let k6 = k6::install(workspace)?;
    for name in ["smoke", "canary", "failure"] {
        let mut visits = visits(&k6);
        let program = workspace.target.join("debug/galleria");
        run_against_own_shop(workspace, program, &script(workspace, name)?, &mut visits)?;
    }
    Ok(())
}

fn visits(k6: &Path) -> Command {
    let mut visits = Command::new(k6);
    visits.args(["run", "--quiet", "--no-usage-report"]);
    visits
}

/// Runs `visits` against a separate shop, whose manifests are overlaid with those in the
/// script's folder.
fn run_against_own_shop(
    workspace: &Workspace,
    program: PathBuf,
    script: &Path,
    visits: &mut Command,
) -> Result<()> {
    let folder = workspace.scratch("loadtest")?;
    let components = workspace.components();
    let mut host = Host::new(workspace, "deploy/shop", components, "off", folder);
    host.program = program;
    let overlay = script.with_extension("");
    host.overlay = overlay.is_dir().then_some(overlay);
    let mut started = host.start()?;
    started.wait()?;
    let address = started.gateway()?;
    visits.arg("-e").arg(format!("BASE_URL=http://{address}"));
    process::run(visits.arg(script))?;
    started.server.terminate()
}

fn script(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.root.join("loadtest/k6");
    let script = folder.join(format!("{name}.js"));
    if script.is_file() && folder.join(name).parent() == Some(&folder) {
        return Ok(script);
    }
    let mut names = Vec::new();
    for entry in folder.read_dir().context("loadtest/k6")? {
        let file = PathBuf::from(entry?.file_name());
        let is_part = ["shopper", "summary", "text"]
            .iter()
            .any(|part| file == Path::new(part).with_extension("js"));
        if file.extension().is_some_and(|it| it == "js") && !is_part {
            names.push(file.with_extension("").display().to_string());
        }
    }
    names.sort();
    bail!(
        "there is no script `{name}` in loadtest/k6; there are {}",
        names.join(", ")
    )
}
