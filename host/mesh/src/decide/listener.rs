//! The ports that Gateways and Ingresses declare, and the ports for other hosts of the
//! mesh.

use galleria_manifest::Position;
use galleria_manifest::model::{Protocol, ServerTls};

use crate::ObjectRef;

/// One declared port, with the servers of all Gateways and Ingresses that declare it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// As declared, not as bound.
    pub port: u16,
    pub protocol: Protocol,
    /// `namespace/name` of every Gateway and Ingress with a server on this port; of the
    /// workload if the port is inbound.
    pub gateways: Vec<String>,
    /// Every server of the port redirects to HTTPS.
    pub https_redirect: bool,
    /// Whether it serves other hosts of the mesh: see [`crate::InboundPort`].
    pub inbound: bool,
    pub servers: Vec<ListenerServer>,
}

/// One server of a Gateway, or an Ingress.
#[derive(Debug, Clone)]
pub struct ListenerServer {
    pub gateway: ObjectRef,
    /// The position of the server in the manifest.
    pub at: Position,
    /// The server's name, if it has one.
    pub name: Option<String>,
    /// DNS names as declared, without the namespace.
    pub hosts: Vec<String>,
    pub https_redirect: bool,
    pub tls: Option<ListenerTls>,
}

/// The TLS settings of a server.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    Gateway(ServerTls),
    /// `spec.tls[]` of an Ingress: a secret in the Ingress's namespace.
    Ingress {
        secret_name: Option<String>,
    },
}
