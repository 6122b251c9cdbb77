//! From a document to a typed object: its kind, its identity and its fields. One file for
//! each kind.

pub(crate) mod authorization;
pub(crate) mod autoscaler;
pub(crate) mod bare_pod;
pub(crate) mod canary;
mod client_tls;
pub(crate) mod config_map;
mod connection_pool;
mod container;
pub(crate) mod cron_job;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
mod destination;
pub(crate) mod destination_rule;
pub(crate) mod disruption_budget;
mod env;
pub(crate) mod envoy_filter;
mod export_to;
mod fault;
mod file_volume;
pub(crate) mod gateway;
pub(crate) mod gateway_api;
mod gateway_topology;
mod guest_options;
mod headers;
mod http_match;
mod http_route;
pub(crate) mod ingress;
pub(crate) mod job;
mod jwt_rule;
mod known;
pub(crate) mod legacy_authentication;
pub(crate) mod limit_range;
mod load_balancer;
mod locality;
pub(crate) mod mesh_config;
mod metadata;
pub(crate) mod namespace;
pub(crate) mod network_policy;
pub(crate) mod node;
pub(crate) mod peer_authentication;
pub(crate) mod persistent_volume;
mod pod;
pub(crate) mod pod_preset;
mod probe;
mod redirect;
pub(crate) mod replica_set;
pub(crate) mod request_authentication;
mod resilience;
pub(crate) mod resource_quota;
mod scaling_metric;
mod schedule;
pub(crate) mod secret;
mod selector;
mod server_tls;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod service_entry;
mod shadowed;
pub(crate) mod sidecar;
pub(crate) mod stateful_set;
pub(crate) mod storage;
mod tcp_route;
mod tls_route;
mod traffic_policy;
pub(crate) mod virtual_service;
mod virtual_service_hosts;
mod volume;

use std::path::Path;
use std::sync::Arc;

use known::{Known, known};

use crate::decode::{Decoder, Fields};
use crate::kind;
use crate::model::{Object, ObjectKey, Resource};
use crate::yaml::{Node, Value, to_json};
use crate::{Diagnostic, codes};

/// The result of reading a document.
pub(crate) struct Document {
    /// `None` if it has an error.
    pub(crate) object: Option<Object>,
    /// The identity, if it is valid: references to an object with an error are not reported.
    pub(crate) key: Option<ObjectKey>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads one document, which may be a list of objects.
pub(crate) fn documents(file: &Arc<Path>, node: &Node, into: &mut Vec<Document>) {
    let kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
    let is_list = kind.ends_with("List") && !node.get("metadata").is_some_and(has_name);
    if let (true, Some(items)) = (is_list, node.get("items")) {
        match &items.value {
            Value::Sequence(items) => {
                items.iter().for_each(|item| documents(file, item, into));
                return;
            }
            _ if items.is_null() => return,
            _ => {}
        }
    }
    into.push(document(file, node));
}

fn has_name(metadata: &Node) -> bool {
    metadata.get("name").is_some()
}

fn document(file: &Arc<Path>, node: &Node) -> Document {
    let mut d = Decoder::new(file);
    let (object, key) = object(&mut d, node);
    let object = object.filter(|_| !d.refused());
    Document {
        object,
        key,
        diagnostics: d.finish(),
    }
}

fn object(d: &mut Decoder, node: &Node) -> (Option<Object>, Option<ObjectKey>) {
    if !matches!(node.value, Value::Mapping(_)) {
        let found = d.describe(node);
        let message = format!(
            "expected a Kubernetes object, found {found}; a document begins with `apiVersion:` and `kind:`"
        );
        d.error(node.mark, codes::NOT_AN_OBJECT, message);
        return (None, None);
    }
    let raw_kind = node.get("kind").and_then(Node::as_text).unwrap_or_default();
    if kind::is_confidential(raw_kind) {
        d.hide_values();
    }
    let Some(mut fields) = Fields::of(d, node) else {
        return (None, None);
    };
    let api_version = fields.required("apiVersion", crate::decode::non_empty);
    let kind = fields.required("kind", crate::decode::non_empty);
    let (Some(api_version), Some(kind)) = (api_version, kind) else {
        return (None, None);
    };

    let name = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"));
    if let Some(name) = name.and_then(Node::as_text) {
        fields.d.name_object(&kind, name);
    } else {
        fields.d.name_object(&kind, "?");
    }
    fields.d.set_api_version(&api_version);
    let known = known(fields.d, node, &api_version, &kind);
    let metadata = metadata::read(&mut fields, &known);
    let key = metadata.as_ref().map(|metadata| ObjectKey {
        group: kind::canonical_group(&api_version, &kind).to_owned(),
        kind: kind.clone(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.value.clone(),
    });
    let resource = match known {
        Known::Enforced(known, read) => {
            if known.group.ends_with("istio.io") {
                fields.d.use_istio_codes();
            }
            // The status is reported by a cluster and not part of the specification.
            fields.ignore(&["status"]);
            read(fields)
        }
        Known::NotEnforced { .. } => Some(Resource::NotEnforced),
        Known::Refused => None,
    };
    let (Some(metadata), Some(mut resource)) = (metadata, resource) else {
        return (None, key);
    };
    match &mut resource {
        Resource::Pod(pod) => bare_pod::take_metadata(d, pod, &metadata),
        Resource::Canary(canary) => canary::take_annotations(canary, &metadata),
        Resource::ConfigMap(map) => mesh_config::take(d, map, &metadata, node),
        _ => {}
    }
    let at = d.position(node.mark);
    let object = Object {
        api_version,
        kind,
        metadata,
        at,
        raw: to_json(node),
        resource,
    };
    (Some(object), key)
}
