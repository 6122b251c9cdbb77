//! `tls` of a DestinationRule's traffic policy.

use crate::codes;
use crate::decode::{Decoder, Fields, boolean, choice, located_string, non_empty, strings};
use crate::model::{ClientTls, ClientTlsMode};
use crate::unenforced::parts;
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<ClientTls> {
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
