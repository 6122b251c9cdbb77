//! TLS of DestinationRules to servers that nothing identifies.

use super::report::Report;
use crate::Code;
use crate::codes;
use crate::model::{ClientTls, ClientTlsMode, DestinationRule, Object};

/// Reports settings without authorities, for the whole destination and for its ports.
pub(super) fn check(report: &mut Report, object: &Object, rule: &DestinationRule) {
    let Some(policy) = &rule.traffic_policy else {
        return;
    };
    let place = "spec.trafficPolicy";
    let whole = codes::NO_SERVER_VERIFICATION;
    authorities(
        report,
        object,
        policy.tls.as_ref(),
        (whole, format!("{place}.tls")),
    );
    for (at, (_, settings)) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{place}.portLevelSettings[{at}].tls");
        let code = codes::NO_SERVER_VERIFICATION_OF_PORT;
        authorities(report, object, settings.tls.as_ref(), (code, path));
    }
}

fn authorities(
    report: &mut Report,
    object: &Object,
    tls: Option<&ClientTls>,
    (code, path): (Code, String),
) {
    let Some(tls) = tls else {
        return;
    };
    let is_used = matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
    // A Secret has its own authorities, and is reported as not supported.
    if !is_used || tls.ca_certificates.is_some() || tls.credential_name.is_some() {
        return;
    }
    let effect = match tls.insecure_skip_verify {
        true => "the server is not verified, since insecureSkipVerify is set",
        false => "the server is verified against the public authorities",
    };
    let message = format!("no caCertificates are set: {effect}; a private server needs its own");
    report.warning(object, &tls.at, path, code, message);
}
