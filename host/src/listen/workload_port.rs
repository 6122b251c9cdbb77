//! The port on which other hosts call a workload of this one. Its PeerAuthentication decides
//! when a connection begins whether it is mutual TLS or plain text.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use galleria_mesh::inbound::peer::{speaks_mutual_tls, strict_policy};
use galleria_mesh::inbound::{InboundPolicies, SpiffeId, WorkloadIdentity};
use tokio_util::sync::CancellationToken;

use crate::call::{Mesh, PeerRefusal};
use crate::tls::{TlsError, WorkloadServer};

/// See the module's documentation.
pub(super) struct WorkloadPort {
    mesh: Arc<Mesh>,
    /// The workload's own.
    port: u16,
    workload: ArcSwap<WorkloadIdentity>,
    /// Cancelled when the authorities or the mode of mutual TLS change: connections then end
    /// after their current requests, and the next ones are opened by what applies then.
    retired: ArcSwap<CancellationToken>,
}

/// What PeerAuthentication says about the connections of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    speaks_mutual_tls: bool,
    is_strict: bool,
}

/// How a connection goes on after its first byte.
pub(super) enum Opening {
    PlainText,
    MutualTls(Box<WorkloadServer>),
}

/// A connection in plain text, and the policy that demands mutual TLS.
#[derive(Debug, thiserror::Error)]
#[error("plain text is refused by peer_authentication_strict{{{0}}}")]
struct PlainTextRefused(String);

/// The other end of a connection.
struct Caller(Option<IpAddr>);

impl WorkloadPort {
    pub(super) fn new(mesh: Arc<Mesh>, port: u16, workload: WorkloadIdentity) -> Self {
        Self {
            mesh,
            port,
            workload: ArcSwap::from_pointee(workload),
            retired: ArcSwap::default(),
        }
    }

    /// Presents the identity of `workload` from now on.
    pub(super) fn serve_as(&self, workload: &WorkloadIdentity) {
        if **self.workload.load() != *workload {
            self.workload.store(Arc::new(workload.clone()));
        }
    }

    /// Ends connections when the authorities or the mode of mutual TLS change.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut authorities = self.mesh.identities.changes();
        let mut configuration = self.mesh.current.changes();
        let mut mode = self.mode();
        loop {
            let changed = tokio::select! {
                changed = authorities.changed() => changed.map(|()| true),
                changed = configuration.changed() => {
                    let before = std::mem::replace(&mut mode, self.mode());
                    changed.map(|()| before != mode)
                }
            };
            match changed {
                Ok(true) => self.retired.swap(Arc::default()).cancel(),
                Ok(false) => {}
                // The host is stopping.
                Err(_) => return,
            }
        }
    }

    /// Cancelled when a connection that is opened from now on has to end. Take it before
    /// [`Self::open`], so that no change between them is missed.
    pub(super) fn retired(&self) -> CancellationToken {
        CancellationToken::clone(&self.retired.load())
    }

    fn mode(&self) -> Mode {
        let workload = self.workload.load();
        let live = self.mesh.current.load();
        let policies = live.policies(&workload).map(|it| &**it);
        Mode {
            speaks_mutual_tls: self.speaks_mutual_tls(policies),
            is_strict: policies.is_some_and(|it| strict_policy(it, self.port).is_some()),
        }
    }

    /// Decides about a connection that begins with TLS, or does not.
    ///
    /// # Errors
    /// The workload accepts only mutual TLS, or has no certificate.
    pub(super) fn open(
        &self,
        begins_tls: bool,
        address: Option<IpAddr>,
    ) -> Result<Opening, Box<dyn std::error::Error + Send + Sync>> {
        let workload = self.workload.load();
        let live = self.mesh.current.load();
        let policies = live.policies(&workload).map(|it| &**it);
        let strict = policies.and_then(|policies| strict_policy(policies, self.port));
        if begins_tls && self.speaks_mutual_tls(policies) {
            let server = self.server(&workload, strict.is_some())?;
            return Ok(Opening::MutualTls(Box::new(server)));
        }
        match strict {
            None => Ok(Opening::PlainText),
            Some(policy) => {
                let error = PlainTextRefused(policy.to_owned());
                let refusals = &self.mesh.peer_refusals;
                let reason = error.to_string();
                refusals.report(PeerRefusal::PlainText, Caller(address), &reason);
                Err(error.into())
            }
        }
    }

    /// Reports that a handshake failed.
    pub(super) fn refused(
        &self,
        address: Option<IpAddr>,
        error: &(dyn std::error::Error + 'static),
    ) {
        let refusals = &self.mesh.peer_refusals;
        refusals.report_tls(Caller(address), error);
    }

    fn speaks_mutual_tls(&self, policies: Option<&InboundPolicies>) -> bool {
        policies.is_none_or(|policies| speaks_mutual_tls(policies, self.port))
    }

    fn server(
        &self,
        workload: &WorkloadIdentity,
        is_strict: bool,
    ) -> Result<WorkloadServer, TlsError> {
        let identities = &self.mesh.identities;
        let WorkloadIdentity {
            namespace,
            service_account,
            ..
        } = workload;
        let id = SpiffeId::new(identities.trust_domain(), namespace, service_account);
        let id = id.map_err(|error| TlsError::Certificate(error.into()))?;
        let certificate = identities.certificate(&id);
        let certificate = certificate.map_err(|error| TlsError::Certificate(error.into()))?;
        WorkloadServer::new(id, certificate, identities.roots(), is_strict)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}
