//! The span of a call has the same facts as its access log line.

use super::record::Record;
use crate::telemetry::access_log::RequestFacts;
use crate::telemetry::trace::{Span, attributes};

pub(super) fn describe(span: &mut Span, record: &Record) {
    let Some(facts) = &record.facts else {
        return;
    };
    if !record.route_name.is_empty() {
        span.rename(format!("{} {}", facts.method, record.route_name));
        span.set(attributes::HTTP_ROUTE, record.route_name.clone());
    }
    request(span, facts);
    let id = record.context.request_id.to_str().unwrap_or_default();
    span.set(attributes::REQUEST_ID, id.to_owned());
    destination(span, record);
    response(span, record);
}

fn request(span: &mut Span, facts: &RequestFacts) {
    span.set(attributes::HTTP_METHOD, facts.method.to_string());
    let (path, query) = match facts.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (facts.path.as_str(), None),
    };
    span.set(attributes::URL_PATH, path.to_owned());
    if let Some(query) = query {
        span.set(attributes::URL_QUERY, query.to_owned());
    }
    span.set(attributes::URL_SCHEME, facts.scheme);
    span.set(attributes::PROTOCOL_VERSION, facts.protocol_version());
    if let Some((service, method)) = facts.grpc_method() {
        span.set(attributes::RPC_SYSTEM, "grpc");
        span.set(attributes::RPC_SERVICE, service.to_owned());
        span.set(attributes::RPC_METHOD, method.to_owned());
    }
    span.set(attributes::SERVER_ADDRESS, facts.authority.clone());
    if let Some(agent) = &facts.user_agent {
        span.set(attributes::USER_AGENT, agent.clone());
    }
    if let Some(client) = facts.client {
        span.set(attributes::CLIENT_ADDRESS, client.to_string());
    }
}

fn destination(span: &mut Span, record: &Record) {
    if let Some(cluster) = &record.cluster {
        span.set(attributes::UPSTREAM_CLUSTER, cluster.name.clone());
    }
    if let Some(service) = &record.edge.service {
        span.set(attributes::DESTINATION_SERVICE, service.fqdn.clone());
    }
    if let Some(workload) = &record.edge.destination {
        span.set(attributes::DESTINATION_WORKLOAD, workload.name.clone());
        span.set(
            attributes::DESTINATION_NAMESPACE,
            workload.namespace.clone(),
        );
    }
    span.set(attributes::ATTEMPTS, i64::from(record.attempts));
}

fn response(span: &mut Span, record: &Record) {
    let flags = record.flags.to_string();
    if record.code != 0 {
        span.set(attributes::HTTP_STATUS, i64::from(record.code));
    }
    if record.code >= 500 || record.code == 0 {
        let kind = match record.code {
            0 => flags.clone(),
            code => code.to_string(),
        };
        span.fail(kind);
    }
    span.set(attributes::RESPONSE_FLAGS, flags);
}
