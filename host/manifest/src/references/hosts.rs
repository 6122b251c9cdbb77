//! Host names of routes and rules, and the Services they mean.

pub(super) const SUFFIX: &str = "svc.cluster.local";

/// A short name means a Service of the object's own namespace; a name with a
/// dot is taken as it is.
pub(super) fn resolve(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host == "*" {
        host
    } else {
        format!("{host}.{namespace}.{SUFFIX}")
    }
}

/// Name and namespace of a Service's full name.
pub(super) fn service_of(full: &str) -> Option<(&str, &str)> {
    let (name, namespace) = full
        .strip_suffix(SUFFIX)?
        .strip_suffix('.')?
        .split_once('.')?;
    (!name.is_empty() && !namespace.is_empty() && !namespace.contains('.'))
        .then_some((name, namespace))
}
