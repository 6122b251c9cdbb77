//! Peer authentication: which connections must be mutual TLS.
//!
//! Calls within the process are not encrypted. The host attests the identity of the caller,
//! which counts as mutual TLS unless the caller or the destination requires plain text.
//! Between hosts, the connection itself decides: what it proves counts as attested, and
//! everything else as plain text.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{ClientTlsMode, MutualTlsMode};

use super::{InboundPolicies, InboundRequest};
use crate::{Failure, LocalReply};

/// The modes of mutual TLS, by the workload's own port.
#[derive(Debug, Default)]
pub(crate) struct PeerPolicies {
    default: Option<PeerMode>,
    ports: HashMap<u16, Option<PeerMode>>,
}

/// A mode, and the policy that sets it.
#[derive(Debug, Clone)]
pub(crate) struct PeerMode {
    pub(crate) mode: MutualTlsMode,
    /// `namespace/name`, or the name alone for a policy of the mesh.
    pub(crate) policy: Arc<str>,
}

/// How the caller connects, by its DestinationRule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// As the destination demands; without a DestinationRule.
    Automatic,
    PlainText,
    MutualTls,
}

impl PeerPolicies {
    pub(crate) fn new(default: Option<PeerMode>, ports: HashMap<u16, Option<PeerMode>>) -> Self {
        Self { default, ports }
    }

    /// Whether no connection is refused and every identity counts.
    pub(crate) fn is_empty(&self) -> bool {
        let modes = self.ports.values().flatten().chain(&self.default);
        modes
            .into_iter()
            .all(|it| it.mode == MutualTlsMode::Permissive)
    }

    fn at(&self, port: u16) -> Option<&PeerMode> {
        match self.ports.get(&port) {
            Some(own) => own.as_ref(),
            None => self.default.as_ref(),
        }
    }
}

impl From<Option<ClientTlsMode>> for Connection {
    /// Other TLS than the mesh's own does not prove an identity of the mesh.
    fn from(mode: Option<ClientTlsMode>) -> Self {
        match mode {
            None => Self::Automatic,
            Some(ClientTlsMode::IstioMutual) => Self::MutualTls,
            Some(ClientTlsMode::Disable | ClientTlsMode::Simple | ClientTlsMode::Mutual) => {
                Self::PlainText
            }
        }
    }
}

/// Decides whether the destination accepts the peer's kind of connection. A connection that
/// it does not accept is closed before any response.
///
/// # Errors
/// The reply for a request that is not admitted: 503 UC.
pub fn decide(
    policies: &InboundPolicies,
    request: &InboundRequest<'_>,
    connection: Connection,
) -> Result<(), LocalReply> {
    let Some(PeerMode { mode, policy }) = policies.peer.at(request.port) else {
        return Ok(());
    };
    let is_proven = connection != Connection::PlainText && request.peer.account().is_some();
    let details = match mode {
        MutualTlsMode::Strict if !is_proven => format!("peer_authentication_strict{{{policy}}}"),
        MutualTlsMode::Disable if connection == Connection::MutualTls => {
            format!("peer_authentication_disabled{{{policy}}}")
        }
        _ => return Ok(()),
    };
    Err(LocalReply {
        details: details.into(),
        resets: true,
        ..LocalReply::for_failure(Failure::Termination)
    })
}

/// The mode of a workload's own port, and the policy that sets it.
pub(crate) fn mode(policies: &InboundPolicies, port: u16) -> Option<(MutualTlsMode, &str)> {
    let mode = policies.peer.at(port)?;
    Some((mode.mode, &*mode.policy))
}

/// Whether a workload speaks mutual TLS on its port: unless it is disabled.
pub fn speaks_mutual_tls(policies: &InboundPolicies, port: u16) -> bool {
    let mode = policies.peer.at(port).map(|it| it.mode);
    mode != Some(MutualTlsMode::Disable)
}

/// The policy by which a workload closes connections in plain text on its port.
pub fn strict_policy(policies: &InboundPolicies, port: u16) -> Option<&str> {
    let mode = policies.peer.at(port)?;
    (mode.mode == MutualTlsMode::Strict).then_some(&*mode.policy)
}

/// Whether the connection proves the identity of the caller, so that later stages may use it.
pub fn proves_identity(policies: &InboundPolicies, port: u16, connection: Connection) -> bool {
    let mode = policies.peer.at(port).map(|it| it.mode);
    connection != Connection::PlainText && mode != Some(MutualTlsMode::Disable)
}
