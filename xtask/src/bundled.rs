//! C libraries whose sources are inside crates: their versions, and holes that are known of
//! them.
//!
//! Advisories about crates (`cargo deny`) do not know them: a crate can be the newest and
//! bundle an old library. `xtask/bundled.json` has what is known, with sources; whoever hears
//! of a hole adds it there.

mod version;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::graph::{self, Crate, Edges};
use crate::workspace::Workspace;
use version::Version;

const FILE: &str = "xtask/bundled.json";

/// The content of `xtask/bundled.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    libraries: Vec<LibraryRecord>,
    /// Crates that compile only C or assembly of their own, and why that is so.
    own_code: BTreeMap<String, String>,
    holes: Vec<Hole>,
    /// Versions that are used although a newer one has fixes, and why.
    accepted: Vec<Accepted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryRecord {
    name: String,
    /// The crate that bundles it.
    #[serde(rename = "crate")]
    krate: String,
    /// The file of the crate that defines the version, and under which name.
    header: String,
    define: String,
    /// The oldest version that is good enough.
    minimum: Version,
    cpe: String,
    license: String,
    homepage: String,
}

/// A vulnerability of the versions from `introduced` to before `fixed`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hole {
    library: String,
    id: String,
    introduced: Version,
    /// `None` if no version has the fix.
    fixed: Option<Version>,
    source: String,
    date: String,
    summary: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    library: String,
    version: Version,
    date: String,
    reason: String,
}

/// A library that is part of the host.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The crate that bundles it.
    pub(crate) krate: String,
    pub(crate) cpe: String,
    pub(crate) license: String,
    pub(crate) homepage: String,
}

/// Checks every bundled library; prints each with its version.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let record = Record::read(workspace)?;
    let crates = graph::crates(workspace, "galleria", graph::HOST, Edges::Build)?;
    let mut problems = record.unknown(&crates);
    for (library, version) in record.bundled(&crates)? {
        println!("{} {version}, in {}", library.name, library.krate);
        problems.extend(record.problems(library, &version));
        for accepted in record.accepted_for(library, &version) {
            println!("  accepted on {}: {}", accepted.date, accepted.reason);
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("bundled C code ({FILE}):\n  {}", problems.join("\n  "))
}

/// The bundled libraries of the host.
pub(crate) fn libraries(workspace: &Workspace) -> Result<Vec<Library>> {
    let record = Record::read(workspace)?;
    let crates = graph::crates(workspace, "galleria", graph::HOST, Edges::Linked)?;
    let found = record.bundled(&crates)?;
    let found = found.into_iter().map(|(library, version)| Library {
        name: library.name.clone(),
        cpe: library.cpe.replace("{version}", &version.to_string()),
        version: version.to_string(),
        krate: library.krate.clone(),
        license: library.license.clone(),
        homepage: library.homepage.clone(),
    });
    Ok(found.collect())
}

impl Record {
    fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read_to_string(workspace.root.join(FILE)).context(FILE)?;
        serde_json::from_str(&text).context(FILE)
    }

    /// The libraries that are among `crates`, with their versions.
    fn bundled(&self, crates: &[Crate]) -> Result<Vec<(&LibraryRecord, Version)>> {
        let mut found = Vec::new();
        for library in &self.libraries {
            for krate in crates.iter().filter(|it| it.name == library.krate) {
                found.push((library, library.version(&krate.folder)?));
            }
        }
        Ok(found)
    }

    /// Crates that compile C that is not accounted for.
    fn unknown(&self, crates: &[Crate]) -> Vec<String> {
        let is_known = |krate: &Crate| {
            self.own_code.contains_key(&krate.name)
                || self
                    .libraries
                    .iter()
                    .any(|library| library.krate == krate.name)
        };
        let unknown = crates.iter().filter(|it| it.compiles_c && !is_known(it));
        unknown
            .map(|krate| {
                format!(
                    "{} {} compiles C, and it is not known which: add the library, or the reason why the crate's advisories cover it",
                    krate.name, krate.version
                )
            })
            .collect()
    }

    fn problems(&self, library: &LibraryRecord, version: &Version) -> Vec<String> {
        let name = &library.name;
        let mut problems = Vec::new();
        if *version < library.minimum {
            problems.push(format!(
                "{name} {version} is older than the minimum {}: update the crate {}",
                library.minimum, library.krate
            ));
        }
        for hole in self
            .holes
            .iter()
            .filter(|hole| hole.library == *name && hole.is_in(version))
        {
            let cure = match &hole.fixed {
                Some(fixed) => format!("fixed in {fixed}"),
                None => "not fixed yet".to_owned(),
            };
            problems.push(format!(
                "{name} {version} has {} ({}): {}; {cure}, see {}",
                hole.id, hole.date, hole.summary, hole.source
            ));
        }
        problems
    }

    fn accepted_for<'a>(
        &'a self,
        library: &'a LibraryRecord,
        version: &'a Version,
    ) -> impl Iterator<Item = &'a Accepted> {
        self.accepted
            .iter()
            .filter(|it| it.library == library.name && it.version == *version)
    }
}

impl LibraryRecord {
    /// Reads the version from the sources, which is what is compiled.
    fn version(&self, folder: &Path) -> Result<Version> {
        let path = folder.join(&self.header);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let version = Version::defined(&text, &self.define);
        version.with_context(|| format!("{} defines no {}", path.display(), self.define))
    }
}

impl Hole {
    fn is_in(&self, version: &Version) -> bool {
        *version >= self.introduced && self.fixed.as_ref().is_none_or(|fixed| version < fixed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn record() -> Record {
        let text = r#"{
            "libraries": [{
                "name": "SQLite", "crate": "libsqlite3-sys", "header": "sqlite3.h",
                "define": "SQLITE_VERSION", "minimum": "3.40.0", "cpe": "", "license": "", "homepage": ""
            }],
            "own_code": {"ring": "its own"},
            "holes": [
                {"library": "SQLite", "id": "A", "introduced": "3.7.0", "fixed": "3.51.3",
                 "source": "s", "date": "d", "summary": "old"},
                {"library": "SQLite", "id": "B", "introduced": "3.53.0", "fixed": null,
                 "source": "s", "date": "d", "summary": "new"},
                {"library": "zstd", "id": "C", "introduced": "0", "fixed": null,
                 "source": "s", "date": "d", "summary": "of another"}
            ],
            "accepted": []
        }"#;
        serde_json::from_str(text).expect("a record")
    }

    #[test]
    fn versions_below_the_minimum_and_in_a_hole_are_problems() {
        let record = record();
        for (version, expected) in [
            ("3.6.23", vec!["older than the minimum 3.40.0"]),
            (
                "3.39.2",
                vec![
                    "older than the minimum 3.40.0",
                    "has A (d): old; fixed in 3.51.3",
                ],
            ),
            ("3.40.0", vec!["has A"]),
            ("3.51.2", vec!["has A"]),
            ("3.51.3", vec![]),
            ("3.52.9", vec![]),
            ("3.53.0", vec!["has B (d): new; not fixed yet"]),
            ("3.100.0", vec!["has B"]),
        ] {
            let version: Version = version.parse().expect("a version");
            let found = record.problems(&record.libraries[0], &version);
            assert_eq!(found.len(), expected.len(), "{version}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{version}: {found}");
            }
        }
    }

    #[test]
    fn crate_with_unknown_c_is_a_problem() {
        let krate = |name: &str, compiles_c| Crate {
            name: name.into(),
            version: "1.0.0".into(),
            features: BTreeSet::new(),
            license: None,
            repository: None,
            checksum: None,
            folder: "/".into(),
            compiles_c,
        };
        let crates = [
            krate("libsqlite3-sys", true),
            krate("ring", true),
            krate("serde", false),
            krate("zstd-sys", true),
        ];
        let found = record().unknown(&crates);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("zstd-sys 1.0.0 compiles C"),
            "{found:?}"
        );
    }

    #[test]
    fn bundled_code_of_this_workspace_is_known_and_has_no_known_hole() {
        let workspace = Workspace::find().expect("a workspace");
        check(&workspace).expect("no problem");
        let libraries = libraries(&workspace).expect("the libraries");
        let names: Vec<_> = libraries.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["SQLite", "mimalloc"]);
    }
}
