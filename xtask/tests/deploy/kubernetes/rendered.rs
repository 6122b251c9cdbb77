//! Manifests as rendered by kustomize, and the results of their validation.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::printed;

/// The oldest Kubernetes version that supports all fields in use.
const KUBERNETES: &str = "1.31";

/// An object, and null or its schema error.
pub struct ManifestObject {
    pub object: Value,
    pub verdict: Value,
}

impl ManifestObject {
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The pod template of the object.
    pub fn template(&self) -> Option<&Value> {
        let spec = &self.object["spec"];
        match self.kind() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&spec["template"]),
            "CronJob" => Some(&spec["jobTemplate"]["spec"]["template"]),
            _ => None,
        }
    }
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The names of the overlays.
pub fn overlays() -> Vec<String> {
    let folder = deploy().join("kubernetes/overlays");
    let entries = folder.read_dir().expect("the folder of the overlays");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a name")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

/// Every object of an overlay.
pub fn overlay(name: &str) -> Vec<ManifestObject> {
    let folder = deploy().join("kubernetes/overlays").join(name);
    checked(printed(
        Command::new("kubectl").arg("kustomize").arg(folder),
    ))
}

/// The objects of `restore.yaml`.
pub fn restoring() -> Vec<ManifestObject> {
    let file = deploy().join("kubernetes/restore.yaml");
    checked(std::fs::read_to_string(file).expect("a manifest"))
}

/// The output of `secrets.sh`, created in a temporary folder.
pub fn secrets(folder: &Path) -> Vec<ManifestObject> {
    for script in ["compose/secrets.sh", "kubernetes/secrets.sh"] {
        let copy = folder.join(script);
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        std::fs::copy(deploy().join(script), copy).expect("a copy");
    }
    let script = folder.join("kubernetes/secrets.sh");
    checked(printed(&mut Command::new(script)))
}

/// The output of `ca.sh`, created in a temporary folder.
pub fn authority(folder: &Path) -> Vec<ManifestObject> {
    let script = folder.join("kubernetes/ca.sh");
    std::fs::create_dir_all(script.parent().expect("a folder")).expect("a folder");
    std::fs::copy(deploy().join("kubernetes/ca.sh"), &script).expect("a copy");
    let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("galleria");
    checked(printed(Command::new(script).env("GALLERIA", program)))
}

/// Every object of some YAML, validated against its schema.
pub fn checked(yaml: String) -> Vec<ManifestObject> {
    let python = std::env::var_os("KUBERNETES_VALIDATE");
    let python = python.expect("run these tests with `cargo xtask test-deploy`");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/kubernetes/validate.py");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), yaml).expect("the manifests are written");
    let mut validate = Command::new(python);
    validate.arg(script).arg(KUBERNETES);
    validate.stdin(Stdio::from(file.reopen().expect("the file")));
    let verdicts: Vec<Value> = serde_json::from_str(&printed(&mut validate)).expect("JSON");
    let checked = verdicts.into_iter().map(|mut it| ManifestObject {
        object: it["object"].take(),
        verdict: it["verdict"].take(),
    });
    checked.collect()
}
