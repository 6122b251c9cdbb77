//! The ports that Gateways, Ingresses and Services declare, and the ports for other hosts of
//! the mesh.

use galleria_manifest::model::{Protocol, ServerTls};
use galleria_manifest::{Diagnostic, Position, Severity, codes};

use crate::ObjectRef;
use crate::inbound::WorkloadIdentity;

/// One declared port, with the servers of all Gateways and Ingresses that declare it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// As declared, not as bound.
    pub port: u16,
    pub protocol: Protocol,
    /// `namespace/name` of every Gateway and Ingress with a server on this port; of the
    /// workload or the Service of another port.
    pub gateways: Vec<String>,
    /// Every server of the port redirects to HTTPS.
    pub https_redirect: bool,
    pub purpose: ListenerPurpose,
    pub servers: Vec<ListenerServer>,
}

/// Whom a listener is for.
#[derive(Debug, Clone)]
pub enum ListenerPurpose {
    /// Clients of Gateways and Ingresses.
    Gateway,
    /// Other hosts of the mesh, which call this workload; see [`crate::InboundPort`].
    Workload(WorkloadIdentity),
    /// Clients outside the mesh that call a Service without a gateway.
    Service(ExposedPort),
}

/// A port of a Service of type NodePort or LoadBalancer.
#[derive(Debug, Clone)]
pub struct ExposedPort {
    pub service: ObjectRef,
    /// The position of the port in the manifest.
    pub at: Position,
    /// Of the port in `spec.ports`.
    pub index: usize,
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
    /// The names for which connections are passed through; see [`crate::Snapshot::pass_through`].
    pub sni_hosts: Vec<String>,
}

/// The TLS settings of a server that terminates TLS, or says so and does not.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    pub settings: ServerTls,
    /// The namespace of Secrets that name none.
    pub namespace: String,
    /// The place of the settings in their object: `spec.servers[1].tls`.
    pub path: String,
    /// Why the server must not be opened although its settings are complete.
    pub unenforced: Option<&'static str>,
}

impl ExposedPort {
    /// A warning that this port is not open as `number`.
    pub fn warning(&self, number: u16, reason: &str) -> Diagnostic {
        Diagnostic {
            at: self.at.clone(),
            severity: Severity::Warning,
            object: Some(format!("Service/{}", self.service.name)),
            path: format!("spec.ports[{}]", self.index),
            message: format!("port {number} is not open to clients outside the mesh: {reason}"),
            code: codes::EXPOSED_PORT,
            unenforced: None,
        }
    }
}

impl Listener {
    /// Whether its connections must be secured by TLS. All servers of a port agree on that.
    pub fn is_secure(&self) -> bool {
        matches!(self.protocol, Protocol::Https | Protocol::Tls)
    }
}

impl ListenerServer {
    /// Whether requests of its clients are routed once TLS is terminated.
    pub(crate) fn terminates(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.settings.mode.terminates() && tls.unenforced.is_none())
    }
}
