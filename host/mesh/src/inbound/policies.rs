//! All policies of one workload, and those of the gateway.

use std::collections::HashMap;
use std::sync::Arc;

use super::authorization::AuthorizationPolicies;
use super::jwt::TokenRules;
use super::network::NetworkPolicies;
use super::peer::PeerPolicies;
use crate::Workload;
use crate::decide::host::{HostTable, canonical};
use crate::rate_limit::RateLimits;

/// What one workload accepts: one field per stage. A workload that no policy selects has
/// none of this, see [`crate::Snapshot::inbound_policies`].
#[derive(Debug, Default)]
pub struct InboundPolicies {
    pub(crate) network: NetworkPolicies,
    pub(crate) peer: PeerPolicies,
    pub(crate) tokens: TokenRules,
    pub(crate) authorization: Arc<AuthorizationPolicies>,
    pub(crate) rate_limits: RateLimits,
}

impl InboundPolicies {
    /// The NetworkPolicies.
    pub fn network(&self) -> &NetworkPolicies {
        &self.network
    }

    /// The local rate limits.
    pub fn rate_limits(&self) -> &RateLimits {
        &self.rate_limits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.network.is_empty()
            && self.peer.is_empty()
            && self.tokens.is_empty()
            && self.authorization.is_empty()
            && self.rate_limits.is_empty()
    }
}

/// What the gateway accepts.
#[derive(Debug)]
pub(crate) struct GatewayPolicies {
    /// For requests that no host in `by_host` is served for.
    pub(crate) all: Option<Arc<InboundPolicies>>,
    /// By port, the policies for every host that a Gateway serves. Empty unless a policy
    /// targets a Gateway.
    pub(crate) by_host: HashMap<u16, HostTable<Option<Arc<InboundPolicies>>>>,
    /// The local rate limits, for all hosts.
    pub(crate) rate_limits: RateLimits,
    /// The gateway as a destination.
    pub(crate) workload: Arc<Workload>,
}

impl GatewayPolicies {
    /// The policies for a request to `host`, without its port, on the listener's `port`.
    pub(crate) fn of(&self, port: u16, host: &str) -> Option<&Arc<InboundPolicies>> {
        if self.by_host.is_empty() {
            return self.all.as_ref();
        }
        let hosts = self.by_host.get(&port);
        match hosts.and_then(|hosts| hosts.get(&canonical(host))) {
            Some(policies) => policies.as_ref(),
            None => self.all.as_ref(),
        }
    }
}
