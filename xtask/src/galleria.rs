//! The host under test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::server::{Server, free_address};
use crate::workspace::Workspace;

/// The port that the manifests' gateways declare.
const GATEWAY_PORT: u16 = 80;

/// How to start the host.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The release build by default.
    pub(crate) program: PathBuf,
    pub(crate) root: PathBuf,
    /// Manifests; a relative path begins in the workspace's folder.
    pub(crate) manifests: PathBuf,
    /// Further manifests, whose objects replace those with the same name.
    pub(crate) overlay: Option<PathBuf>,
    pub(crate) components: PathBuf,
    /// `json` or `off`.
    pub(crate) access_log: &'static str,
    /// Whether standard output is a pipe that is read to its end; otherwise it is a file.
    pub(crate) piped: bool,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Data, cache and logs; kept between starts.
    pub(crate) folder: PathBuf,
}

/// A host that has been started and may not be ready yet.
#[derive(Debug)]
pub(crate) struct StartedHost {
    pub(crate) server: Server,
    status: SocketAddr,
    addresses: PathBuf,
}

impl Host {
    pub(crate) fn new(
        workspace: &Workspace,
        manifests: impl Into<PathBuf>,
        components: PathBuf,
        access_log: &'static str,
        folder: PathBuf,
    ) -> Self {
        let program = workspace.target.join("release/galleria");
        let root = workspace.root.clone();
        Self {
            program,
            root,
            manifests: manifests.into(),
            overlay: None,
            components,
            access_log,
            piped: false,
            environment: Vec::new(),
            folder,
        }
    }

    pub(crate) fn start(&self) -> Result<StartedHost> {
        let status = free_address()?;
        let offset = free_address()?.port() - GATEWAY_PORT;
        let addresses = self.folder.join("addresses.json");
        if addresses.exists() {
            fs::remove_file(&addresses)?;
        }
        let mut host = Command::new(&self.program);
        host.current_dir(&self.root).arg("run").arg(&self.manifests);
        host.args(&self.overlay);
        host.arg("--components").arg(&self.components);
        host.arg("--data").arg(self.folder.join("data"));
        host.args(["--port-offset", &offset.to_string()]);
        host.args(["--status", &status.to_string()]);
        host.args(["--admin", "127.0.0.1:0"]);
        host.arg("--addresses-file").arg(&addresses);
        host.args(["--access-log", self.access_log]);
        host.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = self.folder.join("host.log");
        let server = match self.piped {
            true => Server::start_piped(&host, &log)?,
            false => Server::start(&host, &log)?,
        };
        Ok(StartedHost {
            server,
            status,
            addresses,
        })
    }
}

impl StartedHost {
    /// Waits until every workload is ready, and returns the time at which it was.
    pub(crate) fn wait(&mut self) -> Result<std::time::Instant> {
        self.server.wait_for(self.status, "/healthz/ready")
    }

    /// The address of the first gateway.
    pub(crate) fn gateway(&mut self) -> Result<SocketAddr> {
        let addresses = self.addresses.clone();
        self.server
            .wait_until(|| read_gateway(&addresses).is_ok())?;
        read_gateway(&addresses)
    }
}

fn read_gateway(addresses: &Path) -> Result<SocketAddr> {
    let document: Value = serde_json::from_str(&fs::read_to_string(addresses)?)?;
    let address = document["listeners"][0]["address"]
        .as_str()
        .context("no listener is bound")?;
    Ok(address.parse()?)
}
