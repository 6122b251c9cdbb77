//! Servers outside the mesh that do not speak HTTP: whether a workload can use one, and
//! where it is.
//!
//! The rule is the same as for requests: a Service or a ServiceEntry declares the host
//! and the port, or the outbound policy allows any. Weights, circuit breakers and
//! ejections apply only to requests; here the endpoints are tried in turn.

use std::sync::Arc;

use galleria_mesh as mesh;
use galleria_mesh::inbound::network::{NetworkDenial, NetworkPolicies};
use galleria_mesh::{Caller, Decision, LocalReply, RefusedAddress, RequestHead, Target};
use http::{HeaderMap, Method};

use crate::guest::ServerTarget;

/// Why a workload cannot use a server, and how to change that.
pub(super) enum NoServer {
    Undeclared(String),
    /// By NetworkPolicies.
    Denied(Box<NetworkDenial>),
}

/// The hosts and ports of `host`, as `workload` sees it.
///
/// # Errors
/// Why there are none, and how to change that.
pub(super) fn targets(
    snapshot: &mesh::Snapshot,
    workload: &Arc<mesh::Workload>,
    host: &str,
    port: u16,
) -> Result<Vec<ServerTarget>, NoServer> {
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
        Decision::Reply(reply) => return Err(NoServer::Undeclared(reply.details.into_owned())),
    };
    let policies = snapshot.network_policies(workload);
    let mut refused = None;
    let mut targets = Vec::new();
    for endpoint in cluster.endpoints() {
        let (host, port) = match &endpoint.target {
            Target::Remote { host, port } => (host.clone(), *port),
            Target::AnyPort { host } => (host.clone(), port),
            Target::Requested => (host.to_owned(), port),
            Target::Pod { .. } | Target::Peer { .. } => continue,
        };
        let addresses = cluster.address_rules(endpoint, &host, port, &policies);
        match addresses.check_host(&host) {
            Ok(()) => targets.push(ServerTarget {
                host,
                port,
                addresses,
            }),
            Err(why) => refused = Some((why, host, port)),
        }
    }
    if let Some((why, host, port)) = refused.filter(|_| targets.is_empty()) {
        return Err(refusal(why, &policies, &host, port));
    }
    if targets.is_empty() {
        return Err(NoServer::Undeclared(format!(
            "{authority} has no endpoints outside the mesh; list them in a ServiceEntry, or set resolution: DNS"
        )));
    }
    Ok(targets)
}

fn refusal(why: RefusedAddress, policies: &NetworkPolicies, host: &str, port: u16) -> NoServer {
    match (why, policies.egress_denial(host, port)) {
        (RefusedAddress::NetworkPolicy, Some(denial)) => NoServer::Denied(denial),
        (RefusedAddress::NotPublic(address), _) => {
            let reply = LocalReply::private_address(host, address);
            NoServer::Undeclared(reply.details.into_owned())
        }
        (why, None) => NoServer::Undeclared(why.to_string()),
    }
}
