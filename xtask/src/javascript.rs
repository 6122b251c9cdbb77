//! Builds the guest written in JavaScript with the tools that its authors would use.
//!
//! The guest's folder is copied below `target`, and npm installs everything there. The
//! packages are installed, and the component is built, only if their inputs have changed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::components::place;
use crate::prerequisites::{self, NODE};
use crate::process;
use crate::workspace::Workspace;

const COMPONENT: &str = "hello-js.wasm";

/// Builds the guest and returns the name of its file among the test components.
pub(crate) fn build(workspace: &Workspace) -> Result<OsString> {
    let source = workspace.root.join("host/tests/guests/js");
    let interfaces = workspace.root.join("wit/deps");
    let folder = workspace.target.join("javascript");
    let packages = copy(&source, &folder, &["package.json", "package-lock.json"])?;
    let scripts = copy(&source, &folder, &["componentize.mjs", "hello.js"])?;

    let installed = BuildStep::of(&folder, "npm", &packages)?;
    if !installed.is_current() {
        prerequisites::ensure(&[NODE])?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        process::run(npm.current_dir(&folder))?;
        installed.record()?;
    }

    let inputs = [packages, scripts, files(&interfaces)?].concat();
    let component = BuildStep::of(&folder, "component", &inputs)?;
    if !component.is_current() {
        let mut node = Command::new("node");
        node.args(["componentize.mjs", "hello.js"])
            .arg(&interfaces)
            .arg(COMPONENT);
        process::run(node.current_dir(&folder))?;
        component.record()?;
    }
    place(
        &folder.join(COMPONENT),
        &workspace.test_components().join(COMPONENT),
    )?;
    Ok(COMPONENT.into())
}

/// A build result, with a record of its inputs.
struct BuildStep {
    note: PathBuf,
    key: String,
}

impl BuildStep {
    fn of(folder: &Path, name: &str, inputs: &[PathBuf]) -> Result<Self> {
        let mut hash = Sha256::new();
        for input in inputs {
            let content = fs::read(input).with_context(|| input.display().to_string())?;
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
        let note = folder.join(format!("{name}.made-from"));
        Ok(Self {
            note,
            key: format!("{:x}", hash.finalize()),
        })
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(&self.note).is_ok_and(|key| key == self.key)
    }

    fn record(&self) -> Result<()> {
        fs::write(&self.note, &self.key).with_context(|| self.note.display().to_string())
    }
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(to)?;
    let copy = |name: &&str| {
        let copy = to.join(name);
        fs::copy(from.join(name), &copy).with_context(|| copy.display().to_string())?;
        Ok(copy)
    };
    names.iter().map(copy).collect()
}

/// Every file below a folder, in a stable order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
