//! `galleria secrets`: Secrets in manifest files, encrypted with the keys of `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use galleria_manifest::Severity;

use crate::encryption::{Encryption, decrypted, encrypted};
use crate::settings::encryption::EncryptionSettings;
use crate::terminal::{eprint, print};

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Print the manifest with the values of its Secrets encrypted by the first key; values of another key are encrypted again
    Encrypt(Arguments),
    /// Print the manifest with the values of its Secrets in plain base64
    Decrypt(Arguments),
}

#[derive(Debug, Clone, Args)]
pub(super) struct Arguments {
    /// The manifest
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    encryption: EncryptionSettings,
}

/// Prints each document as JSON, which is YAML too. Other kinds are printed as they are.
pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let (Command::Encrypt(arguments) | Command::Decrypt(arguments)) = command;
    let encryption = Encryption::open(&arguments.encryption)?;
    let encrypts = matches!(command, Command::Encrypt(_));
    if encrypts && !encryption.protects_secrets() {
        bail!("there is no key; name a file with --encryption-provider-config");
    }
    let file = &arguments.file;
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read `{}`", file.display()))?;
    let read = galleria_manifest::read_str(file, &text);
    let is_error = |severity| severity == Severity::Error;
    for error in read.diagnostics.iter().filter(|it| is_error(it.severity)) {
        eprint(&error.to_string());
    }
    if read.objects.is_empty() || read.diagnostics.iter().any(|it| is_error(it.severity)) {
        bail!("`{}` is not a valid manifest", file.display());
    }
    let change = if encrypts { encrypted } else { decrypted };
    let mut documents = Vec::new();
    for object in &read.objects {
        let changed = change(&encryption, object)?;
        documents.push(serde_json::to_string_pretty(&changed)?);
    }
    print(&documents.join("\n---\n"));
    Ok(ExitCode::SUCCESS)
}
