//! The gateways and destinations of connections that are passed through.

use super::super::index::{Index, Target};
use super::super::report::Report;
use super::{destination, gateway_exists};
use crate::codes;
use crate::model::{Object, VirtualService};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    service: &VirtualService,
) {
    for (rule_at, rule) in service.tls.iter().enumerate() {
        let rule_path = format!("spec.tls[{rule_at}]");
        for (match_at, condition) in rule.matches.iter().enumerate() {
            for (at, gateway) in condition.gateways.iter().enumerate() {
                let path = format!("{rule_path}.match[{match_at}].gateways[{at}]");
                gateway_exists(index, report, object, gateway, path);
            }
        }
        for (at, route) in rule.route.iter().enumerate() {
            let path = format!("{rule_path}.route[{at}].destination");
            destination(index, report, object, &route.destination, &path);
            let host = &route.destination.host;
            let namespace = object.metadata.namespace.as_str();
            let Target::Service(_, target) = index.target(host, namespace) else {
                continue;
            };
            if !target.selector.is_empty() {
                let message = format!(
                    "the pods of `{host}` are components, which have no sockets and no TLS, so \
                     these connections are closed; terminate TLS at the gateway with mode SIMPLE \
                     and an http route"
                );
                let code = codes::TLS_NOT_SERVED;
                report.warning(object, &host.at, format!("{path}.host"), code, message);
            }
        }
    }
}
