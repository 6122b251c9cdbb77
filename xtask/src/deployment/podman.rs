//! Podman with settings that need neither systemd nor a separate kernel, so that
//! containers can run inside containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The files from which podman, buildah and their child processes read their settings.
pub(crate) struct Podman {
    containers: PathBuf,
    storage: PathBuf,
}

impl Podman {
    /// Writes the files; images are kept between runs.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("containers");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let podman = Self {
            containers: folder.join("containers.conf"),
            storage: folder.join("storage.conf"),
        };
        fs::write(&podman.containers, CONTAINERS)?;
        fs::write(&podman.storage, storage(&folder))?;
        Ok(podman)
    }

    /// `podman`, with these settings.
    pub(crate) fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        self.environment(&mut podman);
        podman
    }

    /// Makes every podman and buildah that `command` starts use these settings.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env("CONTAINERS_CONF", &self.containers)
            .env("CONTAINERS_STORAGE_CONF", &self.storage);
    }
}

/// runc and cgroupfs work without systemd; the limits are those that a container may set
/// inside a container; short names are resolved locally through Docker's API too.
const CONTAINERS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
compat_api_enforce_docker_hub = false
"#;

/// Folders instead of overlays, which cannot be nested.
fn storage(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{folder}/storage\"\nrunroot = \"{folder}/run\"\n"
    )
}
