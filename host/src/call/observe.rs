//! What authorization policies report without deciding: requests that AUDIT rules match, in
//! the log, and what dry-run policies would do, in the metrics.

use galleria_mesh::inbound::authorization::{self, Observation};
use galleria_mesh::inbound::{InboundPolicies, InboundRequest};

use crate::telemetry::metrics::Metrics;

/// The target of audit events, by which `--log` selects them: `galleria::audit=off`.
const AUDIT: &str = "galleria::audit";

pub(super) fn report(metrics: &Metrics, policies: &InboundPolicies, request: &InboundRequest<'_>) {
    for observation in authorization::observe(policies, request) {
        match observation {
            Observation::Audited(rule) => {
                let head = &request.head;
                let destination = request.destination;
                tracing::info!(
                    target: AUDIT,
                    policy = rule.policy.qualified_name(),
                    rule = rule.name,
                    source = request
                        .peer
                        .spiffe_id(&destination.trust_domain)
                        .map(|id| id.to_string()),
                    peer = %request.peer,
                    destination = format!("{}/{}", destination.namespace, destination.name),
                    method = %head.method,
                    authority = head.authority,
                    path = head.path,
                    "audited request"
                );
            }
            Observation::DryRun {
                action,
                is_denied,
                rule,
            } => {
                metrics.dry_runs.count(action, is_denied);
                tracing::debug!(
                    ?action,
                    is_denied,
                    rule = rule.as_ref().map(|rule| rule.name.as_str()),
                    "dry run of an authorization policy"
                );
            }
        }
    }
}
