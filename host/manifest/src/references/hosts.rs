//! Host names of routes and rules, and the Services that they refer to.

pub(super) const SUFFIX: &str = "svc.cluster.local";

/// A short name is a Service of the namespace of the object. A name with a dot is complete.
pub(super) fn resolve(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host.starts_with('*') {
        host
    } else {
        format!("{host}.{namespace}.{SUFFIX}")
    }
}

/// The name and namespace in the full name of a Service.
pub(super) fn service_of(full: &str) -> Option<(&str, &str)> {
    let (name, namespace) = full
        .strip_suffix(SUFFIX)?
        .strip_suffix('.')?
        .split_once('.')?;
    (!name.is_empty() && !namespace.is_empty() && !namespace.contains('.'))
        .then_some((name, namespace))
}
