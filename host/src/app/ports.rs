//! The endpoints of the host itself: the status port, the admin API, and the socket in
//! the data folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::Host;
use super::announce::Addresses;
use crate::listen::{Capacities, Room};
use crate::settings::RunSettings;
use crate::tls::Expiries;
use crate::writes::Writer;
use crate::{admin, private_folder, status};

/// See the module's documentation.
pub(super) struct Ports {
    socket: UnixListener,
    status: TcpListener,
    admin: admin::Listener,
}

impl Ports {
    /// Locks the data folder for this host and binds everything.
    ///
    /// # Errors
    /// The data folder or a port cannot be used.
    pub(super) async fn bind(settings: &RunSettings) -> anyhow::Result<Self> {
        let folder = &settings.data.folder;
        let socket = take_data_folder(folder).await?;
        let address = settings.listen.status;
        let status = TcpListener::bind(address).await.with_context(|| {
            format!("cannot bind the status port {address}; choose another with --status")
        })?;
        let admin = admin::Listener::bind(settings.listen.admin, folder).await?;
        Ok(Self {
            socket,
            status,
            admin,
        })
    }

    pub(super) fn addresses(&self) -> anyhow::Result<Addresses> {
        Ok(Addresses {
            status: self.status.local_addr()?,
            admin: self.admin.address,
        })
    }

    /// Serves everything until `stop`. The admin API ends with the threads that are
    /// returned.
    ///
    /// # Errors
    /// The threads cannot start.
    pub(super) fn serve(
        self,
        host: &Host,
        settings: &RunSettings,
        capacities: &Capacities,
        writer: Writer,
        audit: Option<Arc<admin::Audit>>,
        stop: &CancellationToken,
    ) -> anyhow::Result<admin::Threads> {
        let timeouts = settings.client_timeouts();
        let metrics = host.status_context(Expiries::new(self.admin.certificate()));
        let room = Room::new(capacities.status);
        let port = status::serve_port(self.status, metrics, &room, timeouts, stop.clone());
        tokio::spawn(port);
        let context = status::SocketContext {
            data: settings.data.folder.clone(),
            health: host.health.clone(),
            mesh: host.mesh.clone(),
            store: host.store.clone(),
            writer: writer.clone(),
        };
        let room = Room::new(capacities.socket);
        let socket = status::serve_socket(self.socket, context, &room, timeouts, stop.clone());
        tokio::spawn(socket);
        let sources = admin::Sources {
            store: host.store.clone(),
            logs: host.platform.logs.clone(),
            pods: host.health.pods.clone(),
            writer,
            allowed: settings.security.allowed(),
        };
        let room = Room::new(capacities.admin);
        let threads = admin::Threads::start().context("cannot start threads for the admin API")?;
        threads.spawn(
            self.admin
                .serve(sources, audit, room, timeouts, stop.clone()),
        );
        Ok(threads)
    }
}

/// Creates the data folder if necessary, and locks it for this host.
async fn take_data_folder(folder: &Path) -> anyhow::Result<UnixListener> {
    private_folder::open(folder)
        .and_then(|opened| private_folder::require_space(folder, &opened))
        .context("cannot use the data folder; choose another with --data")?;
    for inner in ["images", "volumes"] {
        let inner = folder.join(inner);
        if inner.exists() {
            private_folder::open(&inner).context("cannot use the contents of the data folder")?;
        }
    }
    Ok(status::bind_socket(folder).await?)
}
