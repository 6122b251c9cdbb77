//! The crates that a program is made of, queried from cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, read};
use crate::workspace::Workspace;

/// The system of the released host.
pub(crate) const HOST: &str = "x86_64-unknown-linux-gnu";

/// Which dependencies count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edges {
    /// Those whose code ends up in the program.
    Linked,
    /// Also those that only run during the build.
    Build,
}

/// A crate, at one version.
#[derive(Debug, Clone)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) features: BTreeSet<String>,
    /// An expression of SPDX.
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    /// The SHA-256 hash of the published crate; the project's own have none.
    pub(crate) checksum: Option<String>,
    /// The folder of its sources.
    pub(crate) folder: PathBuf,
    /// Whether its build script compiles C or assembly.
    pub(crate) compiles_c: bool,
}

/// The crates of the package's programs, the package itself among them, sorted by name.
pub(crate) fn crates(
    workspace: &Workspace,
    package: &str,
    target: &str,
    edges: Edges,
) -> Result<Vec<Crate>> {
    let mut tree = cargo();
    tree.current_dir(&workspace.root);
    let edges = match edges {
        Edges::Linked => "normal,no-proc-macro",
        Edges::Build => "normal,build",
    };
    tree.args(["tree", "--locked", "--package", package, "--target", target]);
    tree.args(["--edges", edges, "--prefix", "none", "--format", "{p}|{f}"]);
    let tree =
        tree_lines(&read(&mut tree)?).context("`cargo tree` answered in an unknown format")?;
    let details = details(workspace, target)?;
    let checksums = checksums(&fs::read_to_string(workspace.root.join("Cargo.lock"))?);
    let found = tree.into_iter().map(|(key, features)| {
        let detail = details.get(&key);
        let detail = detail.with_context(|| format!("cargo has no metadata of {}", key.0))?;
        Ok(Crate {
            features,
            checksum: checksums.get(&key).cloned(),
            name: key.0,
            version: key.1,
            ..detail.clone()
        })
    });
    found.collect()
}

/// Name and version.
type Key = (String, String);

/// Lines such as `serde v1.0.0 (/folder)|derive,std (*)`.
fn tree_lines(text: &str) -> Option<BTreeMap<Key, BTreeSet<String>>> {
    let mut found = BTreeMap::<Key, BTreeSet<String>>::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.split_once('|')?;
        let mut words = package.split(' ');
        let key = (
            words.next()?.to_owned(),
            words.next()?.strip_prefix('v')?.to_owned(),
        );
        let features = features.trim_end_matches(" (*)").split(',');
        let features = features.filter(|it| !it.is_empty()).map(ToOwned::to_owned);
        found.entry(key).or_default().extend(features);
    }
    Some(found)
}

/// What cargo knows of every crate of the workspace.
fn details(workspace: &Workspace, target: &str) -> Result<BTreeMap<Key, Crate>> {
    let mut metadata = cargo();
    metadata.current_dir(&workspace.root);
    metadata.args(["metadata", "--locked", "--format-version", "1"]);
    metadata.args(["--filter-platform", target]);
    let metadata: Value = serde_json::from_str(&read(&mut metadata)?)?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("`cargo metadata` answered in an unknown format")?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let found = packages.iter().filter_map(|package| {
        let (name, version) = (text(&package["name"])?, text(&package["version"])?);
        let manifest = PathBuf::from(package["manifest_path"].as_str()?);
        let dependencies = package["dependencies"].as_array()?;
        let compiles_c = dependencies.iter().any(|it| {
            it["kind"] == "build" && ["cc", "cmake"].map(Value::from).contains(&it["name"])
        });
        let detail = Crate {
            name: name.clone(),
            version: version.clone(),
            features: BTreeSet::new(),
            license: text(&package["license"]),
            repository: text(&package["repository"]),
            checksum: None,
            folder: manifest.parent()?.to_owned(),
            compiles_c,
        };
        Some(((name, version), detail))
    });
    Ok(found.collect())
}

/// The checksums in a `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let packages = lock.split("[[package]]");
    let found = packages.filter_map(|package| {
        let field = |name: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            value.strip_suffix('"').map(ToOwned::to_owned)
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_tree_are_merged_by_crate() {
        let text = "galleria v0.2.0 (/work/host)|default\nserde v1.0.1|derive,std\nserde v1.0.1|derive (*)\nserde v0.9.0|\n";
        let found = tree_lines(text).expect("a tree");
        let key = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(found.len(), 3);
        let features = &found[&key("serde", "1.0.1")];
        assert_eq!(features.iter().collect::<Vec<_>>(), ["derive", "std"]);
        assert!(found[&key("serde", "0.9.0")].is_empty());
        assert!(tree_lines("something else").is_none());
    }

    #[test]
    fn checksums_are_found_by_name_and_version() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"own\"\nversion = \"0.2.0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("a".to_owned(), "1.0.0".to_owned())], "ab");
    }
}
