//! A DestinationRule's traffic policy: pools, outlier detection, TLS.

use std::time::Duration;

use super::load_balancer;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, integer, located_string, non_empty, optional_timeout, port,
    positive_duration, strings,
};
use crate::model::{ClientTls, ClientTlsMode, ConnectionPool, OutlierDetection, TrafficPolicy};
use crate::unenforced::parts;
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<TrafficPolicy> {
    let mut fields = Fields::of(d, node)?;
    if !BLOCKS
        .iter()
        .chain(&OTHER_BLOCKS)
        .any(|field| fields.has(field))
    {
        is_empty(&mut fields, "trafficPolicy");
    }
    let mut policy = blocks(&mut fields);
    policy.port_level_settings = fields.list("portLevelSettings", port_level);
    if fields.has("tunnel") && fields.has("proxyProtocol") {
        let message = "`tunnel` and `proxyProtocol` are mutually exclusive; keep one".to_owned();
        fields.error_at("tunnel", codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&["proxyProtocol", "retryBudget", "tunnel"]);
    Some(policy)
}

const BLOCKS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];
const OTHER_BLOCKS: [&str; 4] = [
    "portLevelSettings",
    "proxyProtocol",
    "retryBudget",
    "tunnel",
];

fn is_empty(fields: &mut Fields<'_, '_>, what: &str) {
    let mark = fields.mark;
    let message = format!(
        "{what} is empty; set one of {}, or leave it out",
        BLOCKS.join(", ")
    );
    fields.d.error(mark, codes::MISSING_FIELD, message);
}

fn blocks(fields: &mut Fields<'_, '_>) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: fields.optional("loadBalancer", load_balancer::read),
        connection_pool: fields.optional("connectionPool", connection_pool),
        outlier_detection: fields.optional("outlierDetection", outlier_detection),
        tls: fields.optional("tls", tls),
        port_level_settings: Vec::new(),
    }
}

fn port_level(d: &mut Decoder, node: &Node) -> Option<(u16, TrafficPolicy)> {
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("port", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let number = fields.required("number", port);
        fields.finish(&[]);
        number
    });
    if !BLOCKS.iter().any(|field| fields.has(field)) {
        is_empty(&mut fields, "an entry of portLevelSettings");
    }
    let policy = blocks(&mut fields);
    fields.finish(&[]);
    Some((number?, policy))
}

fn connection_pool(d: &mut Decoder, node: &Node) -> Option<ConnectionPool> {
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
            fields.finish(&["idleTimeout", "maxConnectionDuration", "tcpKeepalive"]);
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
        fields.finish(&[
            "h2UpgradePolicy",
            "maxConcurrentStreams",
            "maxRequestsPerConnection",
            "useClientProtocol",
        ]);
        Some(())
    });
    fields.finish(&[]);
    Some(pool)
}

/// A limit; 0 means none.
fn limit(d: &mut Decoder, node: &Node) -> Option<Option<u32>> {
    integer(0..=i32::MAX as u32)(d, node).map(|limit| (limit > 0).then_some(limit))
}

fn outlier_detection(d: &mut Decoder, node: &Node) -> Option<OutlierDetection> {
    let mut fields = Fields::of(d, node)?;
    let count = || integer(0..=i32::MAX as u32);
    let errors_5xx = fields.optional("consecutive5xxErrors", count());
    let gateway_errors = fields.optional("consecutiveGatewayErrors", count());
    let old_errors = fields.optional("consecutiveErrors", count());
    if fields.has("consecutiveErrors") {
        let successor = "consecutiveGatewayErrors or consecutive5xxErrors";
        fields.deprecated("consecutiveErrors", successor);
    }
    let interval = fields.optional("interval", positive_duration);
    let base_ejection_time = fields.optional("baseEjectionTime", positive_duration);
    let max_ejection_percent = fields.optional("maxEjectionPercent", integer(0..=100));
    let min_health_percent = fields.optional("minHealthPercent", integer(0..=100));
    let count = fields.get("consecutiveLocalOriginFailures");
    let is_split = fields
        .get("splitExternalLocalOriginErrors")
        .and_then(Node::as_text)
        == Some("true");
    if count.is_some_and(|it| !it.is_null() && it.as_text() != Some("0")) && !is_split {
        let message = "needs `splitExternalLocalOriginErrors: true`".to_owned();
        fields.error_at(
            "consecutiveLocalOriginFailures",
            codes::MISSING_FIELD,
            message,
        );
    }
    fields.finish(&[
        "consecutiveLocalOriginFailures",
        "splitExternalLocalOriginErrors",
    ]);
    // The old field counts gateway errors and disables ejection on 5xx.
    let default_5xx = if old_errors.is_some() { 0 } else { 5 };
    let on = |count: u32| (count > 0).then_some(count);
    Some(OutlierDetection {
        consecutive_5xx: on(errors_5xx.unwrap_or(default_5xx)),
        consecutive_gateway_errors: on(gateway_errors.or(old_errors).unwrap_or(0)),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        base_ejection_time: base_ejection_time.unwrap_or(Duration::from_secs(30)),
        max_ejection_percent: max_ejection_percent.unwrap_or(10),
        min_health_percent: min_health_percent.unwrap_or(0),
    })
}

/// Files of certificates where the mode, or another field, has its own.
fn check_sources(fields: &mut Fields<'_, '_>, mode: Option<ClientTlsMode>) {
    const FILES: [&str; 3] = ["clientCertificate", "privateKey", "caCertificates"];
    match mode {
        Some(ClientTlsMode::IstioMutual) => {
            for name in FILES.into_iter().chain(["credentialName"]) {
                if fields.has(name) {
                    let message = "has no effect with ISTIO_MUTUAL: the mesh provides its own";
                    fields.warn_at(name, codes::NOT_HONOURED, message.to_owned());
                }
            }
        }
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) if fields.has("credentialName") => {
            for name in FILES.into_iter().chain(["caCrl"]) {
                if fields.has(name) {
                    let message = "must be absent with `credentialName`, whose Secret has it";
                    fields.error_at(name, codes::EXCLUSIVE_FIELDS, message.to_owned());
                }
            }
        }
        _ => {}
    }
}

/// Nothing of the server's certificate is verified, so there is nothing to verify it with.
fn check_skipped(fields: &mut Fields<'_, '_>, mode: Option<ClientTlsMode>) {
    let verifying: &[&str] = match mode {
        Some(ClientTlsMode::Simple) => &["caCertificates", "credentialName", "subjectAltNames"],
        Some(ClientTlsMode::Mutual) => &["caCertificates", "subjectAltNames"],
        _ => &[],
    };
    for name in verifying {
        if fields.has(name) {
            let message = format!(
                "`insecureSkipVerify` and `{name}` are mutually exclusive: without verification \
                 it has no use; remove insecureSkipVerify"
            );
            fields.error_at("insecureSkipVerify", codes::EXCLUSIVE_FIELDS, message);
        }
    }
}

fn tls(d: &mut Decoder, node: &Node) -> Option<ClientTls> {
    let mut fields = Fields::of(d, node)?;
    let mode = fields.optional("mode", |d, node| {
        let modes = [
            ("DISABLE", ClientTlsMode::Disable),
            ("SIMPLE", ClientTlsMode::Simple),
            ("MUTUAL", ClientTlsMode::Mutual),
            ("ISTIO_MUTUAL", ClientTlsMode::IstioMutual),
        ];
        choice(d, node, "a TLS mode", &modes)
    });
    let mode_failed = fields.has("mode") && mode.is_none();
    let sni = fields.optional("sni", non_empty);
    let credential_name = fields.optional("credentialName", non_empty);
    let ca_certificates = fields.optional("caCertificates", non_empty);
    let client_certificate = fields.optional("clientCertificate", located_string);
    let private_key = fields.optional("privateKey", located_string);
    let insecure_skip_verify = fields
        .optional("insecureSkipVerify", boolean)
        .unwrap_or(false);
    if insecure_skip_verify {
        check_skipped(&mut fields, mode);
    }
    if mode == Some(ClientTlsMode::Mutual) && credential_name.is_none() {
        for needed in ["clientCertificate", "privateKey"] {
            if !fields.has(needed) {
                fields.missing(needed);
            }
        }
    }
    check_sources(&mut fields, mode);
    let subject_alt_names = fields
        .optional("subjectAltNames", strings)
        .unwrap_or_default();
    if subject_alt_names.iter().any(|name| name.contains("://")) {
        let message = "only DNS names and addresses are compared; a certificate with only a URI \
                       is rejected"
            .to_owned();
        fields.warn_at("subjectAltNames", codes::NOT_HONOURED, message);
    }
    if credential_name.is_some() {
        let message = "is not supported by this host, and calls get 503; name files with \
                       caCertificates, clientCertificate and privateKey"
            .to_owned();
        fields.warn_at("credentialName", codes::NOT_HONOURED, message);
    }
    fields.unenforced("caCrl", parts::CA_CRL);
    fields.finish_strictly();
    if mode_failed {
        return None;
    }
    Some(ClientTls {
        at: d.position(node.mark),
        mode: mode.unwrap_or(ClientTlsMode::Disable),
        sni,
        credential_name,
        ca_certificates,
        subject_alt_names,
        client_certificate: client_certificate.map(|path| path.value),
        private_key: private_key.map(|path| path.value),
        insecure_skip_verify,
    })
}
