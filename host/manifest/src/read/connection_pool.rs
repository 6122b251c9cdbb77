//! The connection pool of a DestinationRule's traffic policy, and of a Sidecar.

use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, duration, integer, optional_timeout, positive_duration,
};
use crate::model::ConnectionPool;
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<ConnectionPool> {
    let mut fields = Fields::of(d, node)?;
    if !fields.has("tcp") && !fields.has("http") {
        let mark = fields.mark;
        let message = "connectionPool is empty; set one of tcp, http, or leave it out";
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    let mut pool = fields
        .optional("tcp", |d, node| {
            let mut fields = Fields::of(d, node)?;
            let pool = ConnectionPool {
                tcp_max_connections: fields.optional("maxConnections", limit).flatten(),
                connect_timeout: fields.optional("connectTimeout", positive_duration),
                ..ConnectionPool::default()
            };
            fields.without_effect("idleTimeout", duration);
            fields.without_effect("maxConnectionDuration", positive_duration);
            fields.without_effect("tcpKeepalive", |d, node| {
                let mut fields = Fields::of(d, node)?;
                fields.optional("probes", integer(0..=u32::MAX));
                fields.optional("time", positive_duration);
                fields.optional("interval", positive_duration);
                fields.finish(&[]);
                Some(())
            });
            fields.finish(&[]);
            Some(pool)
        })
        .unwrap_or_default();
    fields.optional("http", |d, node| {
        let mut fields = Fields::of(d, node)?;
        pool.http1_max_pending_requests =
            fields.optional("http1MaxPendingRequests", limit).flatten();
        pool.http2_max_requests = fields.optional("http2MaxRequests", limit).flatten();
        pool.max_retries = fields.optional("maxRetries", limit).flatten();
        pool.idle_timeout = fields.optional("idleTimeout", optional_timeout);
        let upgrades = fields.get("h2UpgradePolicy").and_then(Node::as_text) == Some("UPGRADE");
        if upgrades && fields.get("useClientProtocol").and_then(Node::as_text) == Some("true") {
            let message = "contradicts `h2UpgradePolicy: UPGRADE`; keep one".to_owned();
            fields.error_at("useClientProtocol", codes::EXCLUSIVE_FIELDS, message);
        }
        fields.without_effect("h2UpgradePolicy", |d, node| {
            let policies = [("DEFAULT", ()), ("DO_NOT_UPGRADE", ()), ("UPGRADE", ())];
            choice(d, node, "a policy", &policies)
        });
        fields.without_effect("maxConcurrentStreams", limit);
        fields.without_effect("maxRequestsPerConnection", limit);
        fields.without_effect("useClientProtocol", boolean);
        fields.without_effect("http2KeepAlive", |d, node| {
            let mut fields = Fields::of(d, node)?;
            fields.required("interval", positive_duration);
            fields.required("timeout", positive_duration);
            fields.finish(&[]);
            Some(())
        });
        fields.finish(&[]);
        Some(())
    });
    fields.finish(&[]);
    Some(pool)
}

/// A limit; 0 means none.
fn limit(d: &mut Decoder, node: &Node) -> Option<Option<u32>> {
    integer(0..=i32::MAX as u32)(d, node).map(|limit| (limit > 0).then_some(limit))
}
