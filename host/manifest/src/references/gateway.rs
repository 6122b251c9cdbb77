//! The certificates of a Gateway.

use super::index::{Index, names_in};
use super::report::Report;
use crate::WithPosition;
use crate::codes;
use crate::model::{CertificateSource, Gateway, Object, Secret, ServerTls};

/// The possible names of the certificate and of the key in a Secret.
const PAIRS: [[&str; 2]; 2] = [["cert", "key"], ["tls.crt", "tls.key"]];

/// The possible names of the authorities in a Secret.
const AUTHORITIES: [&str; 2] = ["cacert", "ca.crt"];

/// The suffix of a Secret with the authorities for the certificate of another.
const AUTHORITIES_SUFFIX: &str = "-cacert";

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, gateway: &Gateway) {
    for (at, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = &server.tls else {
            continue;
        };
        server_tls(
            index,
            report,
            object,
            tls,
            index.secrets_of(object),
            &format!("spec.servers[{at}].tls"),
        );
    }
}

/// The Secrets of a server, by default in the namespace `home`. What is missing is a warning, because the other servers work:
/// only this one is not opened.
pub(super) fn server_tls(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    tls: &ServerTls,
    home: &str,
    place: &str,
) {
    for certificate in &tls.certificates {
        let CertificateSource::Secret { name, namespace } = &certificate.source else {
            continue;
        };
        let namespace = namespace.as_deref().unwrap_or(home);
        let path = format!("{place}.{}", certificate.field);
        let needs_authorities = tls.mode.verifies_clients()
            && tls.client.ca_certificates.is_none()
            && tls.client.ca_credential.is_none();
        let reference = (namespace, name);
        let Some(secret) = secret(index, report, object, reference, "the certificate", &path)
        else {
            continue;
        };
        let lacks = match has_pair(secret) {
            false => Some("has no keys `tls.crt` and `tls.key`".to_owned()),
            true if needs_authorities && !has_authorities(index, namespace, name, secret) => {
                let mode = tls.mode.name();
                Some(format!("has no key `ca.crt`, which mode {mode} needs"))
            }
            true => None,
        };
        if let Some(lacks) = lacks {
            let message = format!("the Secret {namespace}/{name} {lacks}; {NOT_OPENED}");
            report.warning(object, &name.at, path, codes::GATEWAY_CREDENTIAL, message);
        }
    }
    if let Some(name) = tls
        .client
        .ca_credential
        .as_ref()
        .filter(|_| tls.mode.verifies_clients())
    {
        let reference = (home, name);
        let path = format!("{place}.caCertCredentialName");
        secret(index, report, object, reference, "the authorities", &path);
    }
}

const NOT_OPENED: &str = "the server is not opened";

/// The Secret with `what` of a server, by namespace and name.
fn secret<'a>(
    index: &Index<'a>,
    report: &mut Report,
    object: &Object,
    (namespace, name): (&str, &WithPosition<String>),
    what: &str,
    path: &str,
) -> Option<&'a Secret> {
    let name_text = name.as_str();
    if let Some((_, secret)) = index.secrets.get(&(namespace, name_text)) {
        return Some(secret);
    }
    if !index.is_refused("Secret", namespace, name_text) {
        let near = report.near(name_text, || names_in(&index.secrets, namespace));
        let message = format!(
            "there is no Secret {namespace}/{name} with {what} of this server, so it is not opened{near}"
        );
        report.warning(object, &name.at, path.to_owned(), codes::NOT_FOUND, message);
    }
    None
}

fn has_pair(secret: &Secret) -> bool {
    let contains = |names: &[&str; 2]| names.iter().all(|name| secret.data.contains_key(*name));
    PAIRS.iter().any(contains)
}

fn has_authorities(index: &Index<'_>, namespace: &str, name: &str, own: &Secret) -> bool {
    let separate = format!("{name}{AUTHORITIES_SUFFIX}");
    let separate = index.secrets.get(&(namespace, separate.as_str()));
    let secret = separate.map_or(own, |(_, secret)| secret);
    AUTHORITIES
        .iter()
        .any(|name| secret.data.contains_key(*name))
}
