//! `galleria canary`: controls the canaries of the running host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use galleria_manifest::model::Resource;

use super::Output;
use crate::canary::{Action, CanaryReport, Order, Route, RuleReport, Settings};
use crate::status;
use crate::terminal::{eprint, print};

/// The flags of `galleria canary`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start: give the canary its first share; with --auto advance or roll back automatically
    Start {
        #[command(flatten)]
        route: Route,
        /// The share, in percent
        #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = percent(), conflicts_with = "auto")]
        weight: u32,
        /// Advance while the canary passes its checks, and roll back otherwise
        #[arg(long)]
        auto: bool,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        common: Common,
    },
    /// Set the share of the canary
    Set {
        #[command(flatten)]
        route: Route,
        /// The share, in percent
        #[arg(value_name = "PERCENT", value_parser = percent())]
        weight: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Send all requests to the canary
    Promote {
        #[command(flatten)]
        route: Route,
        #[command(flatten)]
        common: Common,
    },
    /// Send no requests to the canary
    Abort {
        #[command(flatten)]
        route: Route,
        #[command(flatten)]
        common: Common,
    },
    /// Show the shares, the last check, and past events
    Status {
        #[command(flatten)]
        route: Route,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The data folder of the host
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".galleria",
        env = "GALLERIA_DATA"
    )]
    data: PathBuf,

    /// Then write the active weights into the file of the VirtualService
    #[arg(long)]
    write: bool,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn percent() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100)
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (action, route, common) = match &arguments.command {
        Command::Start {
            route,
            weight,
            auto,
            settings,
            common,
        } => {
            let action = match auto {
                true => Action::Analyse(settings.clone()),
                false => Action::Set(*weight),
            };
            (Some(action), route, common)
        }
        Command::Set {
            route,
            weight,
            common,
        } => (Some(Action::Set(*weight)), route, common),
        Command::Promote { route, common } => (Some(Action::Promote), route, common),
        Command::Abort { route, common } => (Some(Action::Abort), route, common),
        Command::Status { route, common } => (None, route, common),
    };
    let report = match action {
        Some(action) => {
            let route = route.clone();
            runtime.block_on(status::order_canary(&common.data, &Order { route, action }))?
        }
        None => runtime.block_on(status::ask_for_canary(&common.data, route))?,
    };
    let report = match report {
        Ok(report) => report,
        Err(message) => {
            eprint(&format!("error: {message}"));
            return Ok(ExitCode::from(1));
        }
    };
    if common.write {
        write(&report)?;
    }
    match common.output {
        Output::Json => print(&serde_json::to_string_pretty(&report)?),
        Output::Text => print(report.text().trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the weights of `report` into its file, which stays the same otherwise.
fn write(report: &CanaryReport) -> anyhow::Result<()> {
    let file = &report.file;
    if !file.is_file() {
        bail!(
            "the file of VirtualService {} (`{}`) does not exist here: nothing to write to",
            report.virtual_service,
            file.display()
        );
    }
    let unreadable = || format!("cannot read `{}`", file.display());
    let text = std::fs::read_to_string(file).with_context(unreadable)?;
    let written = with_weights(file, &text, report)?;
    if written == text {
        return Ok(());
    }
    // A new file is renamed over the old one: a full disk must not truncate a manifest.
    let beside = file.with_extension("galleria-new");
    let unwritable = || format!("cannot write `{}`", file.display());
    std::fs::write(&beside, written).with_context(unwritable)?;
    let permissions = std::fs::metadata(file)?.permissions();
    std::fs::set_permissions(&beside, permissions)?;
    std::fs::rename(&beside, file).with_context(unwritable)
}

fn with_weights(file: &Path, text: &str, report: &CanaryReport) -> anyhow::Result<String> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let mut places = weights(file, text, report)?;
    // From the end, so that earlier positions stay valid.
    places.sort_by_key(|(line, column, _)| std::cmp::Reverse((*line, *column)));
    for (line, column, weight) in places {
        let unwritten = || format!("line {line} of `{}` has changed", file.display());
        let text = lines.get_mut(line - 1).with_context(unwritten)?;
        let before: String = text.chars().take(column - 1).collect();
        let after = text.get(before.len()..).with_context(unwritten)?;
        let rest = after.trim_start_matches(|it: char| it.is_ascii_digit());
        if rest.len() == after.len() {
            bail!(
                "the weight on line {line} of `{}` is not a plain number; write {weight} there",
                file.display()
            );
        }
        *text = format!("{before}{weight}{rest}");
    }
    let written = lines.join("\n");
    for (line, column, weight) in weights(file, &written, report)? {
        let is = lines.get(line - 1).and_then(|text| text.get(column - 1..));
        if !is.is_some_and(|is| is.starts_with(&weight.to_string())) {
            bail!(
                "cannot change the weights in `{}`; edit the file yourself",
                file.display()
            );
        }
    }
    Ok(written)
}

/// Line and column (from 1) of every weight, and its new value.
fn weights(
    file: &Path,
    text: &str,
    report: &CanaryReport,
) -> anyhow::Result<Vec<(usize, usize, u32)>> {
    let read = galleria_manifest::read_str(file, text);
    let is_it = |it: &&std::sync::Arc<galleria_manifest::model::Object>| {
        let name = format!("{}/{}", it.metadata.namespace, it.metadata.name);
        it.kind == "VirtualService" && name == report.virtual_service
    };
    let object = read.objects.iter().rfind(is_it);
    let object = object.with_context(|| {
        format!(
            "`{}` no longer contains VirtualService {}",
            file.display(),
            report.virtual_service
        )
    })?;
    let Resource::VirtualService(service) = &object.resource else {
        bail!("`{}` is not a VirtualService", report.virtual_service);
    };
    let mut found = Vec::new();
    for RuleReport { index, weights, .. } in &report.rules {
        let route = service.http.get(*index).map_or(&[][..], |rule| &rule.route);
        if route.len() != weights.len() {
            bail!("rule {index} in `{}` is not the active one", file.display());
        }
        for (destination, weight) in route.iter().zip(weights) {
            let Some(written) = &destination.weight else {
                bail!(
                    "the destination on line {} of `{}` has no weight; write `weight: {weight}` there",
                    destination.at.line,
                    file.display()
                );
            };
            found.push((
                written.at.line as usize,
                written.at.column as usize,
                *weight,
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# kept\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: shop}\nspec:\n  hosts: [shop]\n  http:\n  - route:\n    \
        - {weight: 100, destination: {host: shop, subset: v1}} # kept: ü\n    \
        - destination: {host: shop, subset: v2}\n      weight: 0 # soon more\n";

    fn report(weights: [u32; 2]) -> CanaryReport {
        CanaryReport {
            virtual_service: "default/shop".to_owned(),
            file: "shop.yaml".into(),
            rules: vec![RuleReport {
                index: 0,
                name: None,
                weight: weights[1],
                canary: Vec::new(),
                stable: Vec::new(),
                weights: weights.into(),
            }],
            canary: None,
            events: Vec::new(),
        }
    }

    #[test]
    fn only_weights_change_in_a_file() {
        let file = Path::new("shop.yaml");
        let written = with_weights(file, FILE, &report([95, 5])).expect("weights");
        let expected = FILE.replace("weight: 100,", "weight: 95,");
        assert_eq!(written, expected.replace("weight: 0 #", "weight: 5 #"));
    }

    #[test]
    fn file_without_a_weight_is_not_changed() {
        let file = Path::new("shop.yaml");
        let without = FILE.replace("      weight: 0 # soon more\n", "");
        let error = with_weights(file, &without, &report([95, 5])).expect_err("no weight");
        assert!(
            error.to_string().contains("write `weight: 5` there"),
            "{error}"
        );
    }
}
