//! The folders and packages of the workspace, queried from cargo, so that
//! `CARGO_TARGET_DIR` and new packages are respected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{self, cargo};

/// The relevant output of `cargo metadata`.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The names of its programs.
    pub(crate) bins: Vec<String>,
    folder: PathBuf,
}

impl Workspace {
    /// Queries cargo about the workspace that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        command.args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        let answer = process::read(&mut command)?;
        Self::from_metadata(&serde_json::from_str(&answer)?)
            .context("`cargo metadata` answered in an unknown format")
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        Some(Self {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages: metadata["packages"]
                .as_array()?
                .iter()
                .map(Package::from_metadata)
                .collect::<Option<_>>()?,
        })
    }

    /// Builds programs of the workspace for tests. All packages are selected, as in the tests:
    /// with one of them, cargo would resolve other features of the dependencies, and compile
    /// these again.
    pub(crate) fn build(&self, programs: &[&str]) -> Command {
        let mut build = cargo();
        build.current_dir(&self.root).args(["build", "--workspace"]);
        build.args(programs.iter().flat_map(|program| ["--bin", program]));
        build
    }

    /// The services: packages in `services/` that have programs.
    pub(crate) fn services(&self) -> Vec<&Package> {
        let folder = self.root.join("services");
        let service = |package: &&Package| package.is_in(&folder) && !package.bins.is_empty();
        self.packages.iter().filter(service).collect()
    }

    /// Every package that is compiled to a component, or is part of one.
    pub(crate) fn guests(&self) -> Vec<&Package> {
        let folders = [
            self.root.join("services"),
            self.root.join("host/tests/guests"),
        ];
        let guest = |package: &&Package| folders.iter().any(|folder| package.is_in(folder));
        self.packages.iter().filter(guest).collect()
    }

    /// The packages of the host, which are released.
    pub(crate) fn host(&self) -> Vec<&Package> {
        let host =
            |package: &&Package| package.name.starts_with("galleria") && !self.is_guest(package);
        self.packages.iter().filter(host).collect()
    }

    /// The package with this name.
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.with_context(|| format!("the workspace has no package {name}"))
    }

    /// Where `cargo xtask build-services` writes the components, as `NAME/TAG.wasm`.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// Where the test guests are written, as `NAME.wasm`.
    pub(crate) fn test_components(&self) -> PathBuf {
        self.target.join("test-components")
    }

    /// Creates an empty folder below `target`.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    fn is_guest(&self, package: &Package) -> bool {
        self.guests().iter().any(|guest| guest.name == package.name)
    }
}

impl Package {
    fn from_metadata(package: &Value) -> Option<Self> {
        let targets = package["targets"].as_array()?;
        let bins = targets
            .iter()
            .filter(|target| target["kind"] == serde_json::json!(["bin"]));
        Some(Self {
            name: package["name"].as_str()?.into(),
            bins: bins
                .filter_map(|bin| bin["name"].as_str())
                .map(str::to_owned)
                .collect(),
            folder: Path::new(package["manifest_path"].as_str()?)
                .parent()?
                .into(),
        })
    }

    fn is_in(&self, folder: &Path) -> bool {
        self.folder.starts_with(folder)
    }
}

/// `-p NAME` for each package.
pub(crate) fn selection<'a>(packages: &[&'a Package]) -> Vec<&'a str> {
    packages
        .iter()
        .flat_map(|package| ["-p", package.name.as_str()])
        .collect()
}
