//! The Debian packages of the libraries that a program loads.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::encoded;
use crate::process::{is_on_path, read};

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    name: String,
    version: String,
    architecture: String,
}

/// The packages that own the libraries of `program`; none on a system without dpkg.
pub(super) fn packages(program: &Path) -> Result<BTreeSet<Package>> {
    if !is_on_path("dpkg-query") {
        return Ok(BTreeSet::new());
    }
    let libraries = read(Command::new("ldd").arg(program))?;
    let mut found = BTreeSet::new();
    for library in paths(&libraries) {
        let owner = read(Command::new("dpkg-query").args(["--search", library]))?;
        let owner = owner
            .split(": ")
            .next()
            .context("dpkg-query knows no owner")?;
        let mut show = Command::new("dpkg-query");
        show.args([
            "--show",
            "--showformat",
            "${Package}\t${Version}\t${Architecture}",
        ]);
        let shown = read(show.arg(owner))?;
        let mut fields = shown.split('\t').map(ToOwned::to_owned);
        if let (Some(name), Some(version), Some(architecture)) =
            (fields.next(), fields.next(), fields.next())
        {
            found.insert(Package {
                name,
                version,
                architecture,
            });
        }
    }
    Ok(found)
}

/// The paths in the output of `ldd`, as the Dockerfile finds them.
fn paths(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.split_whitespace()
        .filter(|word| word.starts_with("/lib"))
}

impl Package {
    pub(super) fn component(&self) -> Value {
        let Self {
            name,
            version,
            architecture,
        } = self;
        let purl = format!(
            "pkg:deb/debian/{name}@{}?arch={architecture}",
            encoded(version)
        );
        json!({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_output_of_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths(ldd).collect::<Vec<_>>(), expected);
    }
}
