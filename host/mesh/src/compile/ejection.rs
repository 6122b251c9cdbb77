//! Reports outlier detection that can never eject an endpoint.
//!
//! The default of `maxEjectionPercent` is 10, and ten percent of nine endpoints is less
//! than one. Since 1.31, Envoy ejects nothing in this case, without a warning.

use std::collections::BTreeSet;

use galleria_manifest::{Diagnostic, Severity, codes};

use super::clusters::Clusters;

pub(crate) fn find_powerless(clusters: &Clusters<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut found: BTreeSet<Diagnostic> = BTreeSet::new();
    for (_, cluster) in clusters.made() {
        let (Some(detection), Some(rule)) =
            (cluster.outlier_detection(), &cluster.destination_rule)
        else {
            continue;
        };
        let count = cluster.endpoints().len();
        let percent = detection.max_ejection_percent;
        if count == 0 || count * percent as usize >= 100 {
            continue;
        }
        found.insert(Diagnostic {
            at: rule.at.clone(),
            severity: Severity::Note,
            object: Some(format!("DestinationRule/{}", rule.name)),
            path: "spec.trafficPolicy.outlierDetection".into(),
            message: format!(
                "ejects nothing: maxEjectionPercent {percent} of {count} endpoint{} is less than \
                 one; {} or more would allow ejecting one",
                if count == 1 { "" } else { "s" },
                100_usize.div_ceil(count)
            ),
            code: codes::EJECTS_NOTHING,
            unenforced: None,
        });
    }
    diagnostics.extend(found);
}
