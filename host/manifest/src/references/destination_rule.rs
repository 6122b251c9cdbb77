//! The host of a DestinationRule, and whether its subsets select pods.

use super::index::{Index, Target};
use super::report::Report;
use super::virtual_service::near_host;
use super::visibility::Visibility;
use crate::codes;
use crate::model::{DestinationRule, Object, ServiceKind, Subset};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    rule: &DestinationRule,
) {
    // A wildcard also applies to hosts that are added later.
    if rule.host.contains('*') {
        return;
    }
    let namespace = object.metadata.namespace.as_str();
    let visibility = Visibility::of_export_to(&rule.export_to, object);
    if index.is_hidden(&rule.host, namespace, &visibility) {
        let message = format!(
            "`{}` is not visible in the namespace {namespace}, so the rule has no effect; add it to \
             exportTo there",
            rule.host
        );
        let code = codes::UNKNOWN_DESTINATION_HOST;
        report.warning(object, &rule.host.at, "spec.host".to_owned(), code, message);
        return;
    }
    match index.target(&rule.host, namespace) {
        Target::Missing => {
            let near = near_host(index, report, &rule.host, namespace);
            let message = format!(
                "there is no Service or ServiceEntry for `{}`, so the rule has no effect{near}",
                rule.host
            );
            let code = codes::UNKNOWN_DESTINATION_HOST;
            report.warning(object, &rule.host.at, "spec.host".to_owned(), code, message);
        }
        Target::Service(home, service) => {
            if matches!(service.kind, ServiceKind::ExternalName(_)) || service.selector.is_empty() {
                return;
            }
            for (at, subset) in rule.subsets.iter().enumerate() {
                let mut wanted = service.selector.clone();
                wanted.extend(subset.labels.clone());
                let contradicts = wanted.len() != service.selector.len() + subset.labels.len()
                    && subset.labels.iter().any(|(key, value)| {
                        service
                            .selector
                            .get(key)
                            .is_some_and(|other| other != value)
                    });
                let found = index.selected(&home.metadata.namespace, &wanted);
                if contradicts || found.is_empty() {
                    selects_nothing(report, object, at, subset, &rule.host);
                }
            }
        }
        Target::Entry(entry) => {
            for (at, subset) in rule.subsets.iter().enumerate() {
                let carries = |labels: &crate::model::Labels| {
                    subset
                        .labels
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
                };
                if !entry.endpoints.is_empty()
                    && !entry
                        .endpoints
                        .iter()
                        .any(|endpoint| carries(&endpoint.labels))
                {
                    selects_nothing(report, object, at, subset, &rule.host);
                }
            }
        }
        Target::Refused => {}
    }
}

fn selects_nothing(report: &mut Report, object: &Object, at: usize, subset: &Subset, host: &str) {
    let labels: Vec<String> = subset
        .labels
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    let message = format!(
        "no workload behind `{host}` carries {}; requests to this subset get 503",
        labels.join(", ")
    );
    let path = format!("spec.subsets[{at}].labels");
    report.warning(
        object,
        &subset.at,
        path,
        codes::SUBSET_SELECTS_NO_PODS,
        message,
    );
}
