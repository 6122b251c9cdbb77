//! How a call to a pod of another host is secured.

use galleria_manifest::model::ClientTlsMode;
use galleria_mesh as mesh;
use galleria_mesh::inbound::peer::speaks_mutual_tls;

use super::Source;
use super::attempt::Attempt;
use crate::active_config::ActiveConfig;
use crate::remote::{MutualTls, PeerTransport};

/// The transport of `attempt` to `endpoint`, a pod of another host. Without a mode in its
/// DestinationRule, a call is mutual TLS if all hosts share an authority and the destination
/// does not disable it. None if one of the ends can have no identity.
pub(super) fn peer_transport<'c>(
    attempt: &Attempt<'c, '_>,
    endpoint: &mesh::Endpoint,
) -> Option<PeerTransport<'c>> {
    let Attempt { cluster, live, .. } = attempt;
    let identities = &attempt.scope.mesh.identities;
    let settings = cluster.tls.as_ref();
    let is_mutual = match settings.map(|tls| tls.mode) {
        Some(ClientTlsMode::Disable) => false,
        Some(ClientTlsMode::IstioMutual) => true,
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) => {
            return settings.map(PeerTransport::Originated);
        }
        None => identities.is_shared() && speaks(live, endpoint),
    };
    // A workload without a sidecar has no mutual TLS.
    let is_member = match attempt.scope.source {
        Source::Workload(caller, _) => live.snapshot.is_member(caller),
        Source::Edge { .. } | Source::Host { .. } => true,
    };
    if !is_mutual || !is_member {
        return Some(PeerTransport::PlainText);
    }
    let caller = match attempt.scope.source {
        Source::Workload(workload, _) => workload,
        Source::Edge { .. } | Source::Host { .. } => live.snapshot.gateway_workload(),
    };
    let given = settings.map(|tls| tls.subject_alt_names.as_slice());
    let server_names = match (given, &endpoint.workload) {
        (Some(names @ [_, ..]), _) => names.to_vec(),
        (_, Some(workload)) => vec![workload.spiffe_id.as_ref()?.to_string()],
        (_, None) => return None,
    };
    let sni = settings.and_then(|tls| tls.sni.as_deref());
    Some(PeerTransport::Mutual(MutualTls {
        caller: caller.spiffe_id.clone()?,
        server_names,
        server: sni.unwrap_or(&cluster.service_fqdn).to_owned(),
    }))
}

fn speaks(live: &ActiveConfig, endpoint: &mesh::Endpoint) -> bool {
    let (Some(workload), Some(port)) = (&endpoint.workload, endpoint.pod_port) else {
        return true;
    };
    let policies = live.snapshot.inbound_policies(workload);
    live.snapshot.is_member(workload)
        && policies.is_none_or(|policies| speaks_mutual_tls(policies, port))
}
