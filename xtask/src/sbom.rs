//! `cargo xtask sbom`: what the container image is made of, as a CycloneDX document.
//!
//! It lists the crates of the host and of each component, the C libraries inside crates, the
//! components, and the Debian packages whose libraries the host uses. Sources of the lists are
//! `Cargo.lock`, cargo's own resolution of features, and the files that go into the image; the
//! crates `cargo-cyclonedx` and `cargo-auditable` know neither bundled C libraries nor
//! components for another target.
//!
//! The document has no serial number, and its time is that of the commit, so that the same
//! sources give the same document.

mod debian;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bundled::{self, Library};
use crate::graph::{self, Crate, Edges};
use crate::image;
use crate::wasm_target::TARGET;
use crate::workspace::Workspace;

/// What to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write the document [default: target/galleria.cdx.json]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The profile whose host in target/PROFILE goes into the image: its hash and the Debian
    /// packages of its libraries are listed
    #[arg(long, value_name = "PROFILE")]
    from_target: Option<String>,
}

/// Writes the document for `cargo xtask sbom`.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let program = options.from_target.as_ref();
    let program = program.map(|profile| workspace.target.join(profile).join("galleria"));
    let file = match &options.output {
        Some(file) => file.clone(),
        None => file(workspace),
    };
    write(workspace, program.as_deref(), &file)
}

/// Where the document of an image is written.
pub(crate) fn file(workspace: &Workspace) -> PathBuf {
    workspace.target.join("galleria.cdx.json")
}

/// Writes the document; `program` is the host that goes into the image, if it is not compiled
/// in a container.
pub(crate) fn write(workspace: &Workspace, program: Option<&Path>, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(&document(workspace, program)?)?;
    fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    println!("wrote {}", file.display());
    Ok(())
}

fn document(workspace: &Workspace, program: Option<&Path>) -> Result<Value> {
    let mut crates = BTreeMap::new();
    let host = graph::crates(workspace, "galleria", graph::HOST, Edges::Linked)?;
    add(&mut crates, "galleria", host);
    let mut components = vec![application("galleria", env!("CARGO_PKG_VERSION"), program)?];
    for service in workspace.services() {
        let linked = graph::crates(workspace, &service.name, TARGET, Edges::Linked)?;
        add(&mut crates, &service.name, linked);
    }
    for (name, tag, path) in wasm_files(workspace)? {
        components.push(application(&name, &tag, Some(&path))?);
    }
    components.extend(crates.values().map(|(krate, parts)| of_crate(krate, parts)));
    components.extend(bundled::libraries(workspace)?.iter().map(of_library));
    if let Some(program) = program {
        let packages = debian::packages(program)?;
        components.extend(packages.iter().map(debian::Package::component));
    }
    let mut metadata = json!({
        "tools": [{"name": "cargo xtask sbom", "version": env!("CARGO_PKG_VERSION")}],
        "component": {
            "type": "container",
            "bom-ref": "image",
            "name": "galleria",
            "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{"expression": "Apache-2.0"}],
        },
    });
    if let Some(time) = image::git(workspace, "%cI")? {
        metadata["timestamp"] = time.into();
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": metadata,
        "components": components,
    }))
}

/// Crates by name and version, with the programs of which they are part.
type Crates = BTreeMap<(String, String), (Crate, BTreeSet<String>)>;

/// Adds the crates of the program `part`.
fn add(crates: &mut Crates, part: &str, linked: Vec<Crate>) {
    for krate in linked {
        let key = (krate.name.clone(), krate.version.clone());
        let features = krate.features.clone();
        let (known, parts) = crates.entry(key).or_insert((krate, BTreeSet::new()));
        known.features.extend(features);
        parts.insert(part.to_owned());
    }
}

/// A program of the image.
fn application(name: &str, version: &str, path: Option<&Path>) -> Result<Value> {
    let mut component = json!({
        "type": "application",
        "bom-ref": format!("program:{name}@{version}"),
        "name": name,
        "version": version,
        "licenses": [{"expression": "Apache-2.0"}],
    });
    if let Some(path) = path {
        let content = fs::read(path).with_context(|| path.display().to_string())?;
        let hash = Sha256::digest(content);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        component["hashes"] = json!([{"alg": "SHA-256", "content": hex}]);
    }
    Ok(component)
}

/// The components of the shop that are built: name, tag and file.
fn wasm_files(workspace: &Workspace) -> Result<Vec<(String, String, PathBuf)>> {
    let folder = workspace.components();
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for path in image::wasm_below(&folder)? {
        let text = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let name = text(path.parent().and_then(Path::file_name));
        found.push((name, text(path.file_stem()), path));
    }
    found.sort();
    Ok(found)
}

fn of_crate(krate: &Crate, parts: &BTreeSet<String>) -> Value {
    let Crate { name, version, .. } = krate;
    let purl = format!("pkg:cargo/{name}@{}", encoded(version));
    let mut properties: Vec<_> = parts
        .iter()
        .map(|part| json!({"name": "galleria:program", "value": part}))
        .collect();
    let features: Vec<_> = krate.features.iter().map(String::as_str).collect();
    if !features.is_empty() {
        let features = features.join(",");
        properties.push(json!({"name": "galleria:features", "value": features}));
    }
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "properties": properties,
    });
    if let Some(license) = &krate.license {
        // Before SPDX expressions, alternatives were separated by a slash.
        let expression = license.replace(" / ", " OR ").replace('/', " OR ");
        component["licenses"] = json!([{"expression": expression}]);
    }
    if let Some(checksum) = &krate.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &krate.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

fn of_library(library: &Library) -> Value {
    let Library { name, version, .. } = library;
    let purl = format!("pkg:generic/{}@{}", name.to_lowercase(), encoded(version));
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "cpe": library.cpe,
        "licenses": [{"license": {"id": library.license}}],
        "externalReferences": [{"type": "website", "url": library.homepage}],
        "properties": [{"name": "galleria:bundled-by", "value": library.krate}],
    })
}

/// A version in a package URL.
fn encoded(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    version.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use cyclonedx_bom::models::bom::{Bom, SpecVersion};
    use cyclonedx_bom::validation::Validate as _;

    use super::*;

    #[test]
    fn document_is_valid_and_complete() {
        let workspace = Workspace::find().expect("a workspace");
        let document = document(&workspace, None).expect("a document");
        let bom = Bom::parse_json_value(document.clone()).expect("CycloneDX");
        let validated = bom.validate_version(SpecVersion::V1_5);
        assert!(validated.passed(), "{validated:?}");

        let components = document["components"].as_array().expect("a list");
        let mut references = BTreeSet::new();
        for component in components {
            assert!(
                references.insert(component["bom-ref"].as_str()),
                "{component}"
            );
        }
        let find = |name: &str| {
            let mut all = components.iter();
            all.find(|it| it["name"] == name).expect(name)
        };
        let sqlite = find("SQLite");
        assert_eq!(sqlite["properties"][0]["value"], "libsqlite3-sys");
        assert!(
            sqlite["cpe"]
                .as_str()
                .is_some_and(|it| it.starts_with("cpe:2.3:a:sqlite:sqlite:3."))
        );
        let tokio = find("tokio");
        let checksum = tokio["hashes"][0]["content"].as_str().expect("a checksum");
        assert_eq!(checksum.len(), 64);
        assert!(
            tokio["properties"].to_string().contains("rt-multi-thread"),
            "{tokio}"
        );
        for guest_only in ["wstd", "maud"] {
            let parts = find(guest_only)["properties"].to_string();
            assert!(!parts.contains(r#""galleria""#), "{parts}");
        }
        let names: BTreeSet<_> = components
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        for test_only in ["insta", "proptest", "oci-client", "clap_derive"] {
            assert!(
                !names.contains(test_only),
                "{test_only} is not part of the image"
            );
        }
    }

    #[test]
    fn versions_are_encoded_in_package_urls() {
        assert_eq!(encoded("2.0.16+zstd.1.5.7"), "2.0.16%2Bzstd.1.5.7");
        assert_eq!(encoded("1:2.36-9~deb12"), "1%3A2.36-9~deb12");
    }
}
