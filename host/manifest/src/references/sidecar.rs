//! The selector and the hosts of a Sidecar.

use super::index::{Index, Target};
use super::report::Report;
use crate::codes;
use crate::model::{Object, Sidecar};

pub(super) fn check(index: &Index<'_>, report: &mut Report, object: &Object, sidecar: &Sidecar) {
    let namespace = object.metadata.namespace.as_str();
    if let Some(selector) = &sidecar.workload_selector
        && !selector.value.is_empty()
        && index.selected(namespace, &selector.value).is_empty()
        && !index.any_serving_refused()
    {
        let message = format!("selects no pods of the namespace {namespace}, so it has no effect");
        let path = "spec.workloadSelector".to_owned();
        report.warning(object, &selector.at, path, codes::SIDECAR, message);
    }
    for (listener, egress) in sidecar.egress.iter().enumerate() {
        for (number, host) in egress.hosts.iter().enumerate() {
            let is_exact = host.host.contains('.') && !host.host.starts_with('*');
            let known = || {
                !matches!(index.target(&host.host, namespace), Target::Missing)
                    || index.has_virtual_service_for(&host.host)
            };
            if !is_exact || known() {
                continue;
            }
            let hosts = index.host_names();
            let near = report.near(&host.host, || hosts.iter().map(String::as_str));
            let message = format!(
                "nothing declares the host `{}`, so the entry has no effect{near}",
                host.host
            );
            let path = format!("spec.egress[{listener}].hosts[{number}]");
            report.warning(object, &host.at, path, codes::SIDECAR, message);
        }
    }
}
