//! TLS of the ports that Gateways and Ingresses declare.
//!
//! [`load`] reads the certificates of every server, from Secrets and files, and [`build`]
//! makes the configurations of rustls. The result is a [`GatewayTls`], which is replaced as a
//! whole: each handshake uses the one that is current when it begins ([`accept`]), and
//! connections continue with theirs.
//!
//! The rule: a server opens only with a complete certificate and with every restriction that
//! its settings demand. A server that does not open keeps its names, so that its clients do
//! not reach another server of the port.

mod accept;
mod build;
pub(super) mod certificate;
mod choose;
mod client;
mod contents;
mod files;
mod load;
mod mesh;
mod recorded;
mod subject;
#[cfg(test)]
mod tests;

pub(crate) use accept::{Accepted, Belongs, Opaque, Session};
pub(crate) use files::GatewayFiles;
pub(crate) use load::{Expiring, Fault, GatewayTls};
pub(crate) use mesh::{MeshCertificates, MeshIdentity};

use std::sync::Arc;

use arc_swap::ArcSwap;
use galleria_mesh::ServerNames;
use tokio_util::sync::CancellationToken;

use self::build::ServedCertificate;

/// How the connections of a port are secured. Replaced atomically.
pub(crate) struct PortSecurity(ArcSwap<Security>);

/// The security of a port at one moment.
#[derive(Clone)]
pub(crate) enum Security {
    /// Without TLS, until the token is cancelled.
    Plain(CancellationToken),
    Tls(Arc<PortServers>),
}

/// The servers of one port with TLS.
#[derive(Debug, Default)]
pub(crate) struct PortServers {
    names: ServerNames<Arc<PortServer>>,
    all: Vec<Arc<PortServer>>,
}

/// One server, or an entry of an Ingress.
#[derive(Debug)]
struct PortServer {
    /// Identifies the server in the next configuration: its object and its hosts.
    key: String,
    /// None if the server is not opened, or does not decrypt.
    context: Option<Arc<ServerContext>>,
    /// Its connections are not decrypted.
    passes_through: bool,
}

/// What the connections of a server have in common.
#[derive(Debug)]
struct ServerContext {
    /// Of the certificates and their keys.
    certificates_digest: Digest,
    /// Of everything else, such as the authorities of clients.
    policy_digest: Digest,
    /// At least one.
    certificates: Vec<ServedCertificate>,
    /// Cancelled when the policy of the server is no longer this one: connections then end
    /// after their current requests. New certificates end no connection.
    retired: CancellationToken,
}

type Digest = [u8; 32];

impl PortSecurity {
    pub(crate) fn new(security: Security) -> Self {
        Self(ArcSwap::from_pointee(security))
    }

    pub(crate) fn load(&self) -> Arc<Security> {
        self.0.load_full()
    }

    /// Uses `new` for new connections, and retires those that it would not have accepted.
    pub(crate) fn replace(&self, new: Security) {
        let old = self.0.swap(Arc::new(new));
        match (&*old, &*self.load()) {
            (Security::Plain(_), Security::Plain(_)) => {}
            (Security::Plain(retired), Security::Tls(_)) => retired.cancel(),
            (Security::Tls(old), new) => old.retire_all_but(new),
        }
    }
}

impl Security {
    pub(crate) fn plain() -> Self {
        Self::Plain(CancellationToken::new())
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl PortServers {
    /// Gives `names` to `server`, unless they have another one.
    fn name(&mut self, names: &[String], server: &Arc<PortServer>) {
        for name in names {
            self.names.insert(name, server.clone());
        }
    }

    fn is_open(&self) -> bool {
        let mut all = self.all.iter();
        all.any(|server| server.passes_through || server.context.is_some())
    }

    fn passes_through(&self) -> bool {
        self.all.iter().any(|server| server.passes_through)
    }

    fn context(&self, key: &str) -> Option<&Arc<ServerContext>> {
        let server = self.all.iter().find(|server| server.key == key)?;
        server.context.as_ref()
    }

    fn retire_all_but(&self, new: &Security) {
        for server in &self.all {
            let Some(context) = &server.context else {
                continue;
            };
            let successor = match new {
                Security::Plain(_) => None,
                Security::Tls(servers) => servers.context(&server.key),
            };
            let has_successor =
                successor.is_some_and(|new| new.policy_digest == context.policy_digest);
            if !has_successor {
                context.retired.cancel();
            }
        }
    }
}
