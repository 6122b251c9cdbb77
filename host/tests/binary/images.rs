//! Sources of components: files, OCI image layouts, registries.

mod hostile;
mod layouts;
mod registries;
mod signatures;

use std::path::{Path, PathBuf};

use crate::support::{Galleria, Service, manifests, test_components};

const LAYER: &str = "application/wasm";

fn component(name: &str) -> Vec<u8> {
    std::fs::read(test_components().join(format!("{name}.wasm"))).expect("a component")
}

/// A host with one service, `/web/`, whose components folder contains only what the test
/// puts there.
struct Web {
    folder: tempfile::TempDir,
    more: String,
    pod: String,
}

impl Web {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("components")).expect("a folder");
        Self {
            folder,
            more: String::new(),
            pod: String::new(),
        }
    }

    fn components(&self) -> PathBuf {
        self.folder.path().join("components")
    }

    /// Adds objects.
    fn with(mut self, yaml: &str) -> Self {
        self.more.push_str("---\n");
        self.more.push_str(yaml);
        self
    }

    /// Adds a field to the pod's spec.
    fn pod(mut self, field: &str) -> Self {
        self.pod.push_str(&format!("\n      {field}"));
        self
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("test.yaml")
    }

    /// Writes the manifests with a service that runs `image`; `container` is an
    /// additional field of its container, or empty.
    fn write(&self, image: &str, container: &str) {
        let grace = "terminationGracePeriodSeconds: 20";
        let yaml = manifests(&[Service::new("web", "IMAGE")])
            .replace(
                "image: IMAGE",
                &format!("image: {image}\n          {container}"),
            )
            .replace(grace, &format!("{grace}{}", self.pod));
        std::fs::write(self.file(), format!("{yaml}{}", self.more)).expect("a file");
    }

    fn galleria(&self, image: &str) -> Galleria {
        self.write(image, "");
        self.start_written()
    }

    fn start_written(&self) -> Galleria {
        Galleria::run(self.file())
            .components(self.components())
            .data(self.folder.path().join("data"))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// The number of files below a folder.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
