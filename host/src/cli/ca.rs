//! `galleria ca`: the certificate authority that the hosts of a mesh share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Args, Subcommand};
use galleria_mesh::inbound::SpiffeId;
use jiff::Timestamp;

use crate::causes::with_causes;
use crate::identity::{self, CertificateDescription, Description, Step};
use crate::settings::identity::{TrustSettings, certificate_ttl};
use crate::terminal::{eprint, print};

/// From here on, hosts report it too.
const EXPIRES_SOON_DAYS: i64 = 14;

/// The flags of `galleria ca`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a root and an intermediate in an empty folder, for `galleria run --ca-dir`
    Init {
        /// The folder; it is created if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        trust: TrustSettings,
    },
    /// Show who the authority is, until when it is valid, and whether a host can use it
    Show {
        /// The folder of the authority
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Sign a certificate for a workload that does not run in a host, such as behind an Envoy
    #[command(
        after_help = "Writes cert-chain.pem, key.pem and root-cert.pem, Istio's names. Nothing renews them: repeat the command before they expire."
    )]
    Issue {
        /// The folder of the authority
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// The namespace of the workload
        #[arg(value_name = "NAMESPACE")]
        namespace: String,
        /// Its service account
        #[arg(value_name = "SERVICE-ACCOUNT")]
        account: String,
        /// Where the files are written
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long the certificate is valid
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = certificate_ttl)]
        ttl: Duration,
        #[command(flatten)]
        trust: TrustSettings,
    },
    /// Make another intermediate with the same root, for a host that must not have the root's key
    #[command(
        after_help = "Writes ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem: the folder for --ca-dir of the host, or Istio's Secret `cacerts`. Without the root's key the host does not renew the intermediate: repeat the command within its year, and after each step of a rotation."
    )]
    Intermediate {
        /// The folder of the authority, with the key of its root
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Where the files are written
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Replace the root in three steps, during which hosts verify each other
    #[command(
        after_help = "Steps: add, switch, drop. Hosts apply each one without a restart. Before the next step, every host must have applied the last one: the metric `galleria_trusted_roots` of each is 2 after `add`, and 1 after `drop`. Copies of the files (Secrets, other folders) must be replaced after each step."
    )]
    Rotate {
        #[command(subcommand)]
        step: RotateStep,
    },
}

#[derive(Debug, Subcommand)]
enum RotateStep {
    /// Step 1: make a new root, which hosts trust in addition to the old one
    Add(Folder),
    /// Step 2: sign with the new root; hosts still trust the old one
    Switch(Folder),
    /// Step 3: no longer trust the old root
    Drop(Folder),
}

#[derive(Debug, Args)]
struct Folder {
    /// The folder of the authority, with the key of its root
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    match &arguments.command {
        Command::Init { folder, trust } => {
            identity::init(folder, &trust.trust_domain, now)?;
            show(folder, now)
        }
        Command::Show { folder } => show(folder, now),
        Command::Issue {
            folder,
            namespace,
            account,
            out,
            ttl,
            trust,
        } => {
            let id = SpiffeId::new(&trust.trust_domain, namespace, account);
            let id = id.with_context(|| {
                format!(
                    "`{namespace}` and `{account}` are not the names of a namespace and a service account"
                )
            })?;
            let end = identity::issue(folder, &id, *ttl, out, now)?;
            let end = date(Timestamp::try_from(end)?);
            print(&format!("{id}, valid until {end}, in {}", out.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Intermediate { folder, out } => {
            identity::export(folder, out, now)?;
            show(out, now)
        }
        Command::Rotate { step } => rotate(step, now),
    }
}

fn rotate(step: &RotateStep, now: SystemTime) -> anyhow::Result<ExitCode> {
    let (step, folder) = match step {
        RotateStep::Add(it) => (Step::Add, &it.folder),
        RotateStep::Switch(it) => (Step::Switch, &it.folder),
        RotateStep::Drop(it) => (Step::Drop, &it.folder),
    };
    identity::rotate(folder, step, now)?;
    show(folder, now)
}

fn show(folder: &Path, now: SystemTime) -> anyhow::Result<ExitCode> {
    let description = identity::describe(folder, now)?;
    print(render(folder, &description, Timestamp::try_from(now)?).trim_end());
    let Some(problem) = &description.problem else {
        return Ok(ExitCode::SUCCESS);
    };
    eprint(&format!("error: {}", with_causes(problem)));
    Ok(ExitCode::from(1))
}

fn render(folder: &Path, description: &Description, now: Timestamp) -> String {
    let mut text = String::new();
    for it in &description.certificates {
        let issuer = match it.subject == it.issuer {
            true => "itself",
            false => &it.issuer,
        };
        text += &format!(
            "{}\n  subject:      {}\n  signed by:    {issuer}\n  valid:        {} to {}{}\n  fingerprint:  {}\n",
            it.file,
            it.subject,
            date(it.not_before),
            date(it.not_after),
            remaining(it, now),
            it.fingerprint,
        );
    }
    text += match description.has_root_key {
        true => "The folder has the key of the root: hosts renew the intermediate.\n",
        false => {
            "The folder does not have the key of the root: replace the files before they expire.\n"
        }
    };
    let folder = folder.display();
    match description.rotation {
        Some(Step::Switch) => {
            text += &format!(
                "Rotation, step 1 of 3 is done: hosts trust the new root too. When all have applied it:\n  galleria ca rotate switch {folder}\n"
            );
        }
        Some(Step::Drop) => {
            text += &format!(
                "Rotation, step 2 of 3 is done: the new root signs. When all hosts have applied it:\n  galleria ca rotate drop {folder}\n"
            );
        }
        Some(Step::Add) | None => {}
    }
    text
}

/// What is unusual about the certificate's time.
fn remaining(certificate: &CertificateDescription, now: Timestamp) -> String {
    let left = certificate.not_after.duration_since(now);
    let days = left.as_hours() / 24;
    match days {
        _ if now < certificate.not_before => ", NOT VALID YET".to_owned(),
        _ if !left.is_positive() => ", EXPIRED".to_owned(),
        0 => ", EXPIRES WITHIN A DAY".to_owned(),
        1..EXPIRES_SOON_DAYS => format!(", EXPIRES IN {days} DAYS"),
        _ => format!(", {days} days left"),
    }
}

/// Without fractions of seconds.
fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_left_is_shown_and_an_end_stands_out() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let certificate = CertificateDescription {
            file: "ca-cert.pem",
            subject: String::new(),
            issuer: String::new(),
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2026-06-01T00:00:00Z"),
            fingerprint: String::new(),
        };
        for (now, expected) in [
            ("2025-12-31T23:59:59Z", ", NOT VALID YET"),
            ("2026-01-01T00:00:00Z", ", 151 days left"),
            ("2026-05-18T00:00:00Z", ", 14 days left"),
            ("2026-05-18T00:00:01Z", ", EXPIRES IN 13 DAYS"),
            ("2026-05-31T12:00:00Z", ", EXPIRES WITHIN A DAY"),
            ("2026-06-01T00:00:00Z", ", EXPIRED"),
        ] {
            assert_eq!(remaining(&certificate, at(now)), expected, "{now}");
        }
    }
}
