//! A destination and its endpoints, as an explanation shows them.

use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::model::OutlierDetection;

use super::network::NetworkExplanation;
use super::steps::{DestinationStep, EndpointStep, LimitStep, Reference};
use super::text_of;
use crate::decide::rule::ClusterChoice;
use crate::decide::snapshot::Via;
use crate::{CallerKey, Cluster, PickContext, Target};

pub(super) fn destination_step(
    choice: &ClusterChoice,
    via: &Via<'_>,
    now: Instant,
    network: &NetworkExplanation<'_>,
) -> DestinationStep {
    let mut step = DestinationStep {
        host: String::new(),
        subset: None,
        at: None,
        weight: 0,
        share: 0.0,
        cluster: String::new(),
        exists: false,
        destination_rule: None,
        load_balancer: None,
        limits: None,
        outlier_detection: None,
        endpoints: Vec::new(),
        authentication: Vec::new(),
        authorization: Vec::new(),
    };
    match choice.for_port(via.port) {
        Err(missing) => step.cluster = missing.to_owned(),
        Ok(cluster) => {
            let (active, pending) = cluster.occupancy(via.caller);
            let limits = cluster.limits();
            step.cluster.clone_from(&cluster.name);
            step.exists = true;
            step.destination_rule = cluster.destination_rule.as_ref().map(Reference::from);
            step.load_balancer = Some(cluster.load_balancer().into());
            step.limits = Some(LimitStep {
                max_requests: limits.requests,
                max_connections: limits.connections,
                max_pending: limits.pending,
                active,
                pending,
            });
            step.outlier_detection = cluster.outlier_detection().map(outlier_text);
            step.endpoints = endpoint_steps(cluster, via.caller, now, network);
        }
    }
    step
}

fn endpoint_steps(
    cluster: &Arc<Cluster>,
    caller: CallerKey,
    now: Instant,
    network: &NetworkExplanation<'_>,
) -> Vec<EndpointStep> {
    let client = cluster.client(caller);
    let context = PickContext {
        caller,
        now,
        hash: None,
        tried: &[],
    };
    let candidates = cluster.candidates(&client, &context);
    let panic = candidates.is_panicking();
    let steps = cluster
        .endpoints()
        .iter()
        .enumerate()
        .map(|(index, endpoint)| {
            let (ready, ejected) = (
                endpoint.is_ready(),
                cluster.is_ejected(caller, endpoint.id, now),
            );
            let reason = match (ready, ejected, panic) {
                (false, ..) => "not ready",
                (true, false, _) => "ready",
                (true, true, false) => "ejected",
                (true, true, true) => "ejected, but still used since too few are healthy",
            };
            EndpointStep {
                name: endpoint.name.clone(),
                eligible: candidates.is_eligible(index, panic),
                reason: reason.into(),
                workload: endpoint
                    .workload
                    .as_ref()
                    .map(|it| format!("{}/{}", it.namespace, it.name)),
                target: match &endpoint.target {
                    Target::Pod { port, .. } => format!("in process, port {port}"),
                    Target::Peer { host, port } => format!("another host, {host}:{port}"),
                    Target::Remote { host, port } => format!("{host}:{port}"),
                    Target::AnyPort { host } => format!("{host}, at the port of the request"),
                    Target::Requested => "as requested".into(),
                },
                active_requests: cluster.active_requests(caller, endpoint.id),
                network: network.steps(endpoint),
            }
        });
    steps.collect()
}

/// `5 consecutive 5xx, out for 30s, at most 10 %`.
fn outlier_text(detection: &OutlierDetection) -> String {
    let limits = [
        (detection.consecutive_5xx, "consecutive 5xx"),
        (
            detection.consecutive_gateway_errors,
            "consecutive gateway errors",
        ),
    ];
    let limits = limits
        .iter()
        .filter_map(|(limit, name)| Some(format!("{} {name}", (*limit)?)));
    format!(
        "{}, out for {}, at most {} %",
        limits.collect::<Vec<_>>().join(" or "),
        text_of(detection.base_ejection_time),
        detection.max_ejection_percent
    )
}
