//! Envoy as a gateway and as sidecars: `loadtest/envoy/*.yaml`.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::envoy;
use crate::server::Server;
use crate::workspace::Workspace;

/// Istio gives its proxies two workers.
const WORKERS: &str = "2";

/// An installed Envoy.
pub(super) struct Envoy {
    program: PathBuf,
    configurations: PathBuf,
    folder: PathBuf,
}

impl Envoy {
    /// Installs Envoy below `target` if it is missing.
    pub(super) fn install(workspace: &Workspace, folder: PathBuf) -> Result<Self> {
        Ok(Self {
            program: envoy::install(workspace)?,
            configurations: workspace.root.join("loadtest/envoy"),
            folder,
        })
    }

    /// Starts an Envoy with a configuration in which each `${NAME}` is replaced with an
    /// address, as `"HOST", port_value: PORT`, and `${FOLDER}` with the folder of its files.
    pub(super) fn start(&self, name: &str, addresses: &[(&str, SocketAddr)]) -> Result<Server> {
        let template = self.configurations.join(format!("{name}.yaml"));
        let read = || format!("cannot read {}", template.display());
        let mut text = fs::read_to_string(&template).with_context(read)?;
        for (name, address) in addresses {
            let place = format!("address: {}, port_value: {}", address.ip(), address.port());
            text = text.replace(&format!("${{{name}}}"), &place);
        }
        let log = self.folder.join(format!("{name}.access.log"));
        text = text.replace("${ACCESS_LOG}", &log.display().to_string());
        text = text.replace("${FOLDER}", &self.folder.display().to_string());
        let configuration = self.folder.join(format!("{name}.yaml"));
        fs::write(&configuration, text)?;

        let mut envoy = Command::new(&self.program);
        envoy
            .arg("-c")
            .arg(configuration)
            .args(["--concurrency", WORKERS, "-l", "warn"]);
        envoy.arg("--disable-hot-restart");
        Server::start(&envoy, &self.folder.join(format!("{name}.log")))
    }
}
