//! Runs commands, and prints each as it could be typed.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The cargo that runs this program, in a clean environment.
///
/// Variables that cargo sets for `xtask` must not reach another cargo: build scripts that
/// watch them would be rebuilt whenever a command is typed manually and then run from
/// here.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_xtask = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || name == "CARGO"
            || name == "CARGO_BIN_NAME"
            || name == "CARGO_CRATE_NAME"
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(of_xtask) {
            command.env_remove(name);
        }
    }
    command
}

/// Prints and runs a command; fails if the command fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", text(command));
    let program = name(command.get_program());
    let status = command
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}

/// Runs a command quietly and returns its output; if it fails, the error contains its
/// error output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let program = name(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            text(command),
            output.status,
            complaint.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on the `PATH`.
pub(crate) fn is_on_path(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// The command as it could be typed, with its own environment first.
pub(crate) fn text(command: &Command) -> String {
    let mut words = Vec::new();
    for (variable, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", variable.display(), quoted(value)));
        }
    }
    words.push(name(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn name(program: &OsStr) -> String {
    let is_cargo = env::var_os("CARGO").is_some_and(|cargo| cargo == program);
    if is_cargo {
        "cargo".into()
    } else {
        quoted(program)
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_printed_as_it_could_be_typed() {
        let mut command = Command::new("wrk");
        command.env("A", "1").args(["-c", "32", "it's here", ""]);
        assert_eq!(text(&command), r"A=1 wrk -c 32 'it'\''s here' ''");
    }
}
