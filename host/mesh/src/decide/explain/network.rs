//! What NetworkPolicies decide about a request, as an explanation shows it.

use std::net::{IpAddr, Ipv4Addr};

use super::steps::{NetworkStep, Reference};
use crate::inbound::Peer;
use crate::inbound::network::{Isolation, NetworkDenial, NetworkPolicies, Party};
use crate::{Caller, Endpoint, RequestHead, Snapshot, Target, Workload};

/// The caller of the request that is explained.
pub(super) struct NetworkExplanation<'a> {
    snapshot: &'a Snapshot,
    peer: Peer,
    /// The policies of the caller's own end.
    policies: NetworkPolicies,
}

impl<'a> NetworkExplanation<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        caller: Caller<'_>,
        request: &RequestHead<'_>,
    ) -> Self {
        let (peer, policies) = match caller {
            Caller::Edge { listener_port } => {
                // Only an ipBlock of all addresses contains a client of unknown address.
                let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let ip = request.source_ip.unwrap_or(unknown);
                let policies = snapshot.gateway_network_policies().clone();
                (Peer::Client { listener_port, ip }, policies)
            }
            Caller::Workload(workload) => (
                Peer::Workload(workload.clone()),
                snapshot.network_policies(workload),
            ),
        };
        Self {
            snapshot,
            peer,
            policies,
        }
    }

    /// The decisions of both ends of a connection to `endpoint`. Those about a name outside
    /// depend on its addresses.
    pub(super) fn steps(&self, endpoint: &Endpoint) -> Vec<NetworkStep> {
        let mut steps = Vec::new();
        if let (Some(workload), Some(port)) = (&endpoint.workload, endpoint.pod_port) {
            let destination = Party::Workload(workload);
            if let Some(egress) = &self.policies.egress {
                steps.push(step(egress, &destination, workload, port));
            }
            if let Some(ingress) = &self.snapshot.network_policies(workload).ingress {
                steps.push(step(ingress, &Party::of(&self.peer, None), workload, port));
            }
        }
        if let Target::Remote { host, port } = &endpoint.target
            && let Ok(address) = host.parse::<IpAddr>()
            && !self.policies.egress_allows(address, *port)
            && let Some(denial) = self.policies.egress_denial(host, *port)
        {
            steps.push(denied(*denial));
        }
        steps
    }
}

fn step(
    isolation: &Isolation,
    party: &Party<'_>,
    destination: &Workload,
    port: u16,
) -> NetworkStep {
    match isolation.allowed_by(party, destination, port) {
        Some(policy) => NetworkStep {
            allowed: true,
            policy: Reference::from(policy),
            message: format!(
                "{} allowed by NetworkPolicy {}",
                isolation.direction,
                policy.qualified_name()
            ),
            details: None,
        },
        None => denied(*isolation.denial(party, port)),
    }
}

fn denied(denial: NetworkDenial) -> NetworkStep {
    NetworkStep {
        allowed: false,
        policy: Reference::from(&denial.policy),
        message: denial.message,
        details: Some(denial.reply.details.into_owned()),
    }
}
