//! Network policies: which connections a workload accepts, and which it opens.
//!
//! A direction of a workload that at least one NetworkPolicy governs is closed, except for
//! what a rule of one of these policies allows (`network/isolation.rs`). The destination's host
//! decides about ingress and the caller's host about egress, as a cluster's network does
//! at both ends. For connections to servers outside, the policies decide about the
//! addresses that a name resolves to ([`NetworkPolicies::egress_blocks`]).

pub(crate) mod index;
pub(crate) mod isolation;
mod party;
pub(crate) mod rule;

use std::net::IpAddr;
use std::sync::Arc;

use galleria_manifest::model::IpBlock;

use super::{InboundPolicies, Peer};
use crate::{LocalReply, ObjectRef, Workload};
pub(crate) use isolation::Isolation;
pub(crate) use party::Party;
pub(crate) use rule::contains;

/// The NetworkPolicies that select one workload. A direction that no policy governs is
/// `None`, and open.
#[derive(Debug, Clone, Default)]
pub struct NetworkPolicies {
    pub(crate) ingress: Option<Arc<Isolation>>,
    pub(crate) egress: Option<Arc<Isolation>>,
}

/// A connection that no policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDenial {
    pub reply: LocalReply,
    /// The first policy that governs the connection.
    pub policy: ObjectRef,
    /// `metadata.uid` of the policy, if its manifest has one.
    pub policy_uid: Option<String>,
    /// What was denied to whom, and by which policies.
    pub message: String,
}

/// Decides whether the network lets the peer connect to the destination's port. `address`
/// is the other end of the connection, if it is known.
///
/// # Errors
/// The denial of a connection that no policy allows.
pub fn decide(
    policies: &InboundPolicies,
    destination: &Workload,
    port: u16,
    peer: &Peer,
    address: Option<IpAddr>,
) -> Result<(), Box<NetworkDenial>> {
    match &policies.network.ingress {
        None => Ok(()),
        Some(ingress) => ingress.decide(&Party::of(peer, address), destination, port),
    }
}

impl NetworkPolicies {
    pub(crate) fn is_empty(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }

    /// Whether a policy governs the connections that the workload accepts.
    pub fn governs_ingress(&self) -> bool {
        self.ingress.is_some()
    }

    /// Decides whether the host's own gateway, which these policies govern, accepts a
    /// connection of `client`. The gateway of Istio listens in its pod on 8000 + P for a
    /// port P below 1024, so a policy can name either.
    ///
    /// # Errors
    /// The denial of a connection that no policy allows.
    pub fn client(&self, client: IpAddr, port: u16) -> Result<(), Box<NetworkDenial>> {
        let Some(ingress) = &self.ingress else {
            return Ok(());
        };
        let (client, gateway) = (Party::Address(client), &ingress.around.gateway);
        let allows = |port: u16| ingress.allowed_by(&client, gateway, port).is_some();
        if allows(port) || (port < 1_024 && allows(8_000 + port)) {
            return Ok(());
        }
        Err(ingress.denial(&client, port))
    }

    /// Whether a policy governs the connections that the workload opens.
    pub fn governs_egress(&self) -> bool {
        self.egress.is_some()
    }

    /// Decides whether the workload may connect to `port` of a pod of `destination`.
    ///
    /// # Errors
    /// The denial of a connection that no policy allows.
    pub fn egress(&self, destination: &Workload, port: u16) -> Result<(), Box<NetworkDenial>> {
        match &self.egress {
            None => Ok(()),
            Some(egress) => egress.decide(&Party::Workload(destination), destination, port),
        }
    }

    /// The addresses outside the mesh to which the workload may connect on `port`; `None`
    /// means all.
    pub fn egress_blocks(&self, port: u16) -> Option<Arc<[IpBlock]>> {
        self.egress.as_ref()?.blocks(port)
    }

    /// Whether the workload may connect to `port` of a server outside the mesh at `address`.
    pub fn egress_allows(&self, address: IpAddr, port: u16) -> bool {
        let blocks = self.egress_blocks(port);
        blocks.is_none_or(|blocks| blocks.iter().any(|block| contains(block, address)))
    }

    /// The denial of a connection to `host` outside the mesh.
    pub fn egress_denial(&self, host: &str, port: u16) -> Option<Box<NetworkDenial>> {
        Some(self.egress.as_ref()?.denial(&host, port))
    }
}
