//! The certificates of a Gateway, and servers with the same host.

use std::collections::HashMap;

use super::index::{Index, names_in};
use super::report::Report;
use crate::WithPosition;
use crate::codes;
use crate::model::{Gateway, Labels, Object, Server};

/// The two possible names of the certificate and of the key in a Secret.
const CERTIFICATE_KEYS: [[&str; 2]; 2] = [["tls.crt", "cert"], ["tls.key", "key"]];

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, gateway: &Gateway) {
    let namespace = object.metadata.namespace.as_str();
    for (at, server) in gateway.servers.iter().enumerate() {
        let Some(credential) = server
            .tls
            .as_ref()
            .and_then(|tls| tls.credential_name.as_ref())
        else {
            continue;
        };
        let path = format!("spec.servers[{at}].tls.credentialName");
        certificate(index, report, object, (namespace, credential), path);
    }
}

/// The Secret with the certificate of a server, by namespace and name.
pub(super) fn certificate(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    (namespace, credential): (&str, &WithPosition<String>),
    path: String,
) {
    let code = codes::GATEWAY_CREDENTIAL;
    let name = credential.as_str();
    let Some((_, secret)) = index.secrets.get(&(namespace, name)) else {
        if !index.is_refused("Secret", namespace, name) {
            let near = report.near(name, || names_in(&index.secrets, namespace));
            let message = format!(
                "there is no Secret {namespace}/{name} with the certificate of this server{near}"
            );
            report.error(object, &credential.at, path, code, message);
        }
        return;
    };
    for names in CERTIFICATE_KEYS {
        if !names.iter().any(|name| secret.data.contains_key(*name)) {
            let message = format!("the Secret {namespace}/{name} has no key `{}`", names[0]);
            report.error(object, &credential.at, path.clone(), code, message);
        }
    }
}

/// Reports servers with the same host on one port of the same gateway workload.
pub(super) fn conflicts(index: &Index<'_>, report: &mut Report) {
    let mut claimed: HashMap<(&Labels, u16, String), (&Object, &Server)> = HashMap::new();
    for (object, gateway) in &index.gateways_in_order {
        for (at, server) in gateway.servers.iter().enumerate() {
            for (host_at, host) in server.hosts.iter().enumerate() {
                let key = (
                    &gateway.selector,
                    server.port.value,
                    host.to_ascii_lowercase(),
                );
                let Some((first, first_server)) = claimed.get(&key) else {
                    claimed.insert(key, (object, server));
                    continue;
                };
                let message = format!(
                    "port {} of `{host}` is claimed by Gateway/{} at {} too",
                    server.port, first.metadata.name, first_server.at
                );
                let path = format!("spec.servers[{at}].hosts[{host_at}]");
                report.warning(object, &host.at, path, codes::CONFLICTING_GATEWAYS, message);
            }
        }
    }
}
