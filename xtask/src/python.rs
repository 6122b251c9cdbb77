//! Programs distributed as Python packages, in virtual environments below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::prerequisites::{self, PYTHON};
use crate::process;
use crate::workspace::Workspace;

/// A virtual environment for the packages of one tool.
pub(crate) struct Environment(PathBuf);

impl Environment {
    /// Creates the environment if it is missing.
    pub(crate) fn of(workspace: &Workspace, tool: &str) -> Result<Self> {
        let folder = workspace.target.join("tools").join(tool);
        if !folder.join("bin/python").exists() {
            prerequisites::ensure(&[PYTHON])?;
            process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        }
        Ok(Self(folder))
    }

    /// A program in the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// Installs a package, given as `NAME==VERSION`, from a wheel.
    pub(crate) fn install(&self, package: &str) -> Result<()> {
        let install = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:"];
        process::run(
            Command::new(self.program("python"))
                .args(install)
                .arg(package),
        )
    }

    /// A folder in the environment.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Unpacks a package into a folder, without its dependencies.
    pub(crate) fn unpack(&self, package: &str, folder: &Path) -> Result<()> {
        let install = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:"];
        let mut pip = Command::new(self.program("python"));
        pip.args(install).args(["--no-deps", "--target"]);
        process::run(pip.arg(folder).arg(package))
    }
}
