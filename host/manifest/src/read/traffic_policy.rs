//! A DestinationRule's traffic policy: pools, outlier detection, TLS.

use std::time::Duration;

use super::load_balancer;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, duration, integer, located_string, non_empty, port,
    positive_duration, strings,
};
use crate::model::{ClientTls, ClientTlsMode, ConnectionPool, OutlierDetection, TrafficPolicy};
use crate::unenforced::parts;
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<TrafficPolicy> {
    let mut fields = Fields::of(d, node)?;
    let mut policy = blocks(&mut fields);
    policy.port_level_settings = fields.list("portLevelSettings", port_level);
    fields.finish(&["proxyProtocol", "retryBudget", "tunnel"]);
    Some(policy)
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
    let policy = blocks(&mut fields);
    fields.finish(&[]);
    Some((number?, policy))
}

fn connection_pool(d: &mut Decoder, node: &Node) -> Option<ConnectionPool> {
    let mut fields = Fields::of(d, node)?;
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
        pool.idle_timeout = fields.optional("idleTimeout", duration);
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
    if mode == Some(ClientTlsMode::Mutual) && credential_name.is_none() {
        for needed in ["clientCertificate", "privateKey"] {
            if !fields.has(needed) {
                fields.missing(needed);
            }
        }
    }
    if mode == Some(ClientTlsMode::IstioMutual) {
        for unused in [
            "clientCertificate",
            "privateKey",
            "caCertificates",
            "credentialName",
        ] {
            if fields.has(unused) {
                let message =
                    "must be absent with ISTIO_MUTUAL: the mesh provides its own".to_owned();
                fields.error_at(unused, codes::EXCLUSIVE_FIELDS, message);
            }
        }
    }
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
