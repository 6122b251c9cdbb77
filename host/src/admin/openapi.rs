//! OpenAPI schemas of the served kinds, by which clients validate, merge and explain:
//! `/openapi/v2` in JSON and protobuf, `/openapi/v3` by group and version.
//!
//! The schemas of built-in kinds are those of Kubernetes. They also have fields without an
//! effect in this host; a write of such a field causes a warning.

mod definitions;
mod protobuf;

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::kind::{self, Kind, api_version};
use definitions::{Dialect, definitions};

/// The media type of version 2 in protobuf, as clients request it. The response has a dot
/// in place of the `@`, which is not allowed in a media type.
pub(super) const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
pub(super) const PROTOBUF_ANSWER: &str =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Built on the first request: most hosts never get one.
static V2: LazyLock<Value> = LazyLock::new(v2_document);

static V2_PROTOBUF: LazyLock<Bytes> =
    LazyLock::new(|| protobuf::Document::of(&V2).encode_to_vec().into());

/// `/openapi/v2`.
pub(super) fn v2() -> &'static Value {
    &V2
}

/// `/openapi/v2` in protobuf.
pub(super) fn v2_protobuf() -> Bytes {
    V2_PROTOBUF.clone()
}

/// `/openapi/v3`: where the document of each group and version is.
pub(super) fn v3_index() -> Value {
    let path = |(group, version): (&str, &str)| {
        let path = path_of(group, version);
        let url = json!({"serverRelativeURL": format!("/openapi/v3/{path}")});
        (path, url)
    };
    let paths: Map<_, _> = group_versions().into_iter().map(path).collect();
    json!({"paths": paths})
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
///
/// # Errors
/// There is no such group or version.
pub(super) fn v3(group: &str, version: &str) -> Result<Value, Failure> {
    let served: Vec<_> = served()
        .filter(|(kind, it)| kind.group == group && *it == version)
        .collect();
    if served.is_empty() {
        return Err(Failure::NoSuchPath);
    }
    Ok(json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths(&served, Dialect::V3),
        "components": {"schemas": definitions(&served, Dialect::V3)},
    }))
}

fn v2_document() -> Value {
    let served: Vec<_> = served().collect();
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths(&served, Dialect::V2),
        "definitions": definitions(&served, Dialect::V2),
    })
}

fn info() -> Value {
    json!({"title": "Galleria", "version": env!("CARGO_PKG_VERSION")})
}

/// Every kind in each of its versions.
fn served() -> impl Iterator<Item = (&'static Kind, &'static str)> {
    kind::served().flat_map(|kind| kind.versions.iter().map(move |version| (kind, *version)))
}

fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = served()
        .map(|(kind, version)| (kind.group, version))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `api/v1`; `apis/apps/v1`.
fn path_of(group: &str, version: &str) -> String {
    let root = if group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", api_version(group, version))
}

/// The operations by which clients find the kind of a resource, and learn that a patch of it
/// supports dry runs.
fn paths(served: &[(&Kind, &str)], dialect: Dialect) -> Value {
    let mut paths = Map::new();
    for (kind, version) in served {
        let root = match kind.namespaced {
            true => format!(
                "/{}/namespaces/{{namespace}}/{}",
                path_of(kind.group, version),
                kind.plural
            ),
            false => format!("/{}/{}", path_of(kind.group, version), kind.plural),
        };
        let operation = |action: &str| {
            let parameters: Vec<_> = ["dryRun", "fieldValidation"]
                .into_iter()
                .map(|name| dialect.parameter(name))
                .collect();
            json!({
                "responses": {"200": {"description": "OK"}},
                "parameters": parameters,
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind":
                    {"group": kind.group, "version": version, "kind": kind.kind},
            })
        };
        let one = format!("{root}/{{name}}");
        paths.insert(root, json!({"get": operation("list")}));
        paths.insert(
            one,
            json!({"get": operation("get"), "patch": operation("patch")}),
        );
    }
    Value::Object(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` of a document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_kind_has_a_schema_and_every_reference_resolves() {
        let mut documents = vec![v2().clone()];
        for (group, version) in group_versions() {
            documents.push(v3(group, version).expect("a document"));
        }
        for document in &documents {
            let mut found = Vec::new();
            references(document, &mut found);
            assert!(!found.is_empty());
            for reference in found {
                let pointer = reference.strip_prefix('#').expect("a local reference");
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
        }
        let definitions = v2()["definitions"].as_object().expect("definitions");
        for (kind, version) in served() {
            let gvk = json!([{"group": kind.group, "version": version, "kind": kind.kind}]);
            let is_it = |it: &&Value| it["x-kubernetes-group-version-kind"] == gvk;
            assert_eq!(definitions.values().filter(is_it).count(), 1, "{gvk}");
        }
        assert_eq!(v3("apps", "v9"), Err(Failure::NoSuchPath));
    }

    #[test]
    fn only_kinds_that_kubernetes_does_not_describe_have_an_open_spec() {
        let is_open = |(kind, version): &(&Kind, &str)| {
            let group: Vec<_> = kind.group.rsplit('.').collect();
            let name = format!("{}.{version}.{}", group.join("."), kind.kind);
            v2()["definitions"].get(name).is_some()
        };
        let mut open: Vec<_> = served()
            .filter(is_open)
            .map(|(kind, _)| kind.resource())
            .collect();
        open.dedup();
        let expected = [
            "nodes.metrics.k8s.io",
            "pods.metrics.k8s.io",
            "podpresets.settings.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io",
            "canaries.flagger.app",
            "gateways.gateway.networking.k8s.io",
            "httproutes.gateway.networking.k8s.io",
            "destinationrules.networking.istio.io",
            "gateways.networking.istio.io",
            "serviceentries.networking.istio.io",
            "sidecars.networking.istio.io",
            "virtualservices.networking.istio.io",
            "authorizationpolicies.security.istio.io",
            "peerauthentications.security.istio.io",
            "requestauthentications.security.istio.io",
            "meshpolicies.authentication.istio.io",
            "policies.authentication.istio.io",
            "clusterrbacconfigs.rbac.istio.io",
            "rbacconfigs.rbac.istio.io",
            "serviceroles.rbac.istio.io",
            "servicerolebindings.rbac.istio.io",
        ];
        assert_eq!(open, expected);
    }

    #[test]
    fn lists_have_their_merge_keys() {
        let merge_key = |definition: &str, property: &str| {
            v2()["definitions"][definition]["properties"][property]["x-kubernetes-patch-merge-key"]
                .clone()
        };
        assert_eq!(
            merge_key("io.k8s.api.core.v1.PodSpec", "containers"),
            "name"
        );
        assert_eq!(
            merge_key("io.k8s.api.core.v1.Container", "ports"),
            "containerPort"
        );
        assert_eq!(merge_key("io.k8s.api.core.v1.ServiceSpec", "ports"), "port");
        assert!(merge_key("io.k8s.api.core.v1.Container", "args").is_null());
    }

    #[test]
    fn the_protobuf_form_has_all_definitions() {
        let document = protobuf::Document::decode(v2_protobuf()).expect("protobuf");
        let definitions = document.definitions.expect("definitions");
        assert_eq!(
            definitions.additional_properties.len(),
            v2()["definitions"].as_object().expect("definitions").len()
        );
    }
}
