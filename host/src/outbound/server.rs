//! Servers outside the mesh that do not speak HTTP: whether a workload can use one, and
//! where it is.
//!
//! The rule is the same as for requests: a Service or a ServiceEntry declares the host
//! and the port, or the outbound policy allows any. Weights, circuit breakers and
//! ejections apply only to requests; here the endpoints are tried in turn.

use std::sync::Arc;

use galleria_mesh as mesh;
use galleria_mesh::{Caller, Decision, RequestHead, Target};
use http::{HeaderMap, Method};

/// The hosts and ports of `host`, as `workload` sees it.
///
/// # Errors
/// Why there are none, and how to change that.
pub(super) fn targets(
    snapshot: &mesh::Snapshot,
    workload: &Arc<mesh::Workload>,
    host: &str,
    port: u16,
) -> Result<Vec<(String, u16)>, String> {
    let authority = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let head = RequestHead {
        method: &Method::CONNECT,
        scheme: "tcp",
        authority: &authority,
        path: "/",
        query: None,
        headers: &HeaderMap::new(),
        source_ip: None,
    };
    let decision = snapshot.route(Caller::Workload(workload), &head, &mut rand::rng());
    let cluster = match decision {
        Decision::Forward(forward) => forward.cluster,
        Decision::Reply(reply) => return Err(reply.details.into_owned()),
    };
    let targets: Vec<_> = cluster
        .endpoints()
        .iter()
        .filter_map(|endpoint| match &endpoint.target {
            Target::Remote { host, port } => Some((host.clone(), *port)),
            Target::Requested => Some((host.to_owned(), port)),
            Target::Pod { .. } | Target::Peer { .. } => None,
        })
        .collect();
    if targets.is_empty() {
        return Err(format!(
            "{authority} has no endpoints outside the mesh; list them in a ServiceEntry, or set resolution: DNS"
        ));
    }
    Ok(targets)
}
