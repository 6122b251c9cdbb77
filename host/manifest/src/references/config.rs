//! References to ConfigMaps, Secrets and their keys. Messages contain keys, never values.

use super::index::{Index, names_in};
use super::report::Report;
use crate::model::Object;
use crate::{WithPosition, codes};

/// The ConfigMap must exist.
pub(super) fn config_map(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    if index.config_maps.contains_key(&(namespace, name))
        || index.is_refused("ConfigMap", namespace, name)
    {
        return;
    }
    let near = report.near(name, || names_in(&index.config_maps, namespace));
    missing(
        report,
        object,
        name,
        path,
        &format!("there is no ConfigMap {namespace}/{name}{near}"),
    );
}

/// The Secret must exist.
pub(super) fn secret(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    if index.secrets.contains_key(&(namespace, name)) || index.is_refused("Secret", namespace, name)
    {
        return;
    }
    let near = report.near(name, || names_in(&index.secrets, namespace));
    missing(
        report,
        object,
        name,
        path,
        &format!("there is no Secret {namespace}/{name}{near}"),
    );
}

/// The ConfigMap must exist and have the key.
pub(super) fn config_map_key(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    key: &WithPosition<String>,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let Some((_, map)) = index.config_maps.get(&(namespace, name)) else {
        return config_map(index, report, object, name, path);
    };
    if !map.data.contains_key(key.as_str()) && !map.binary_data.contains_key(key.as_str()) {
        let keys = || {
            map.data
                .keys()
                .chain(map.binary_data.keys())
                .map(String::as_str)
        };
        let near = report.near(key, keys);
        let message = format!("the ConfigMap {namespace}/{name} has no key `{key}`{near}");
        missing(report, object, key, path, &message);
    }
}

/// The Secret must exist and have the key.
pub(super) fn secret_key(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    key: &WithPosition<String>,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let Some((_, found)) = index.secrets.get(&(namespace, name)) else {
        return secret(index, report, object, name, path);
    };
    if !found.data.contains_key(key.as_str()) {
        let near = report.near(key, || found.data.keys().map(String::as_str));
        let message = format!("the Secret {namespace}/{name} has no key `{key}`{near}");
        missing(report, object, key, path, &message);
    }
}

/// The PersistentVolumeClaim must exist.
pub(super) fn claim(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    path: String,
) {
    let namespace = object.metadata.namespace.as_str();
    if index.has_claim(namespace, name) {
        return;
    }
    let near = report.near(name, || index.claims_in(namespace));
    let message = format!("there is no PersistentVolumeClaim {namespace}/{name}{near}");
    report.error(object, &name.at, path, codes::CONFIG_REFERENCE, message);
}

fn missing(
    report: &mut Report,
    object: &Object,
    at: &WithPosition<String>,
    path: &str,
    message: &str,
) {
    let message = if message.ends_with('?') {
        message.to_owned()
    } else {
        format!("{message}; declare it, or mark the reference `optional: true`")
    };
    report.error(
        object,
        &at.at,
        path.to_owned(),
        codes::CONFIG_REFERENCE,
        message,
    );
}
