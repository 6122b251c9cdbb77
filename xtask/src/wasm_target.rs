//! The compiler's target for components, which is not installed by default.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The target of every guest.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Installs the target if it is missing.
pub(crate) fn ensure() -> Result<()> {
    if is_installed()? {
        return Ok(());
    }
    process::run(Command::new("rustup").args(["target", "add", TARGET])).with_context(|| {
        format!(
            "the compiler lacks the target {TARGET} and it could not be added; run \
             `rustup target add {TARGET}`, or install the compiler's {TARGET} library with \
             whatever installed the compiler"
        )
    })
}

fn is_installed() -> Result<bool> {
    let library = process::read(Command::new("rustc").args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]))?;
    Ok(Path::new(library.trim()).is_dir())
}
