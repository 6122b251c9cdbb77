//! The schemas of the kinds, and of the types that they consist of.

use k8s_openapi::api::{
    apps, authentication, authorization, autoscaling, batch, core, discovery, networking, policy,
    rbac, storage,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::kind::Kind;
use crate::admin::patch::strategic::key_of;

/// The two versions of OpenAPI that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn generator(self) -> SchemaGenerator {
        match self {
            // This draft allows a description next to a reference.
            Self::V2 => SchemaSettings::draft2019_09()
                .with(|settings| settings.definitions_path = "/definitions".into()),
            Self::V3 => SchemaSettings::openapi3(),
        }
        .into_generator()
    }

    /// A parameter of the query.
    pub(super) fn parameter(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"name": name, "in": "query", "type": "string"}),
            Self::V3 => json!({"name": name, "in": "query", "schema": {"type": "string"}}),
        }
    }
}

/// The definitions of `served` kinds and versions, by name.
pub(super) fn definitions(served: &[(&Kind, &str)], dialect: Dialect) -> Value {
    let mut generator = dialect.generator();
    let metadata = generator.subschema_for::<ObjectMeta>();
    let mut named = Vec::new();
    for (kind, version) in served {
        let name = match schema_of(kind, version) {
            Some(add) => add(&mut generator),
            None => own_schema(&mut generator, &metadata, kind, version),
        };
        let gvk = json!({"group": kind.group, "version": version, "kind": kind.kind});
        named.push((name, gvk));
    }
    if dialect == Dialect::V2 {
        for (group, version, kind, add) in REQUESTS {
            let gvk = json!({"group": group, "version": version, "kind": kind});
            named.push((add(&mut generator), gvk));
        }
    }
    let mut definitions = generator.take_definitions(true);
    for (name, definition) in &mut definitions {
        add_merge_keys(name, definition);
        describe_int_or_string(definition, dialect);
    }
    for (name, gvk) in named {
        if let Some(definition) = definitions.get_mut(&name) {
            definition["x-kubernetes-group-version-kind"] = json!([gvk]);
        }
    }
    Value::Object(definitions)
}

/// Adds the schema of a type to a generator's definitions and returns its name there.
type Add = fn(&mut SchemaGenerator) -> String;

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

/// Bodies of requests that are not objects: group, version and kind.
const REQUESTS: &[(&str, &str, &str, Add)] = &[
    ("", "v1", "DeleteOptions", add::<DeleteOptions>),
    (
        "authentication.k8s.io",
        "v1",
        "SelfSubjectReview",
        add::<authentication::v1::SelfSubjectReview>,
    ),
    (
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        add::<authorization::v1::SelfSubjectAccessReview>,
    ),
    (
        "authorization.k8s.io",
        "v1",
        "SelfSubjectRulesReview",
        add::<authorization::v1::SelfSubjectRulesReview>,
    ),
];

/// The schema of a kind that is built into Kubernetes.
fn schema_of(kind: &Kind, version: &str) -> Option<Add> {
    Some(match (kind.group, version, kind.kind) {
        ("", _, "ConfigMap") => add::<core::v1::ConfigMap>,
        ("", _, "Endpoints") => add::<core::v1::Endpoints>,
        ("", _, "Node") => add::<core::v1::Node>,
        ("discovery.k8s.io", _, "EndpointSlice") => add::<discovery::v1::EndpointSlice>,
        ("", _, "Event") => add::<core::v1::Event>,
        ("", _, "LimitRange") => add::<core::v1::LimitRange>,
        ("", _, "Namespace") => add::<core::v1::Namespace>,
        ("", _, "PersistentVolume") => add::<core::v1::PersistentVolume>,
        ("", _, "PersistentVolumeClaim") => add::<core::v1::PersistentVolumeClaim>,
        ("", _, "Pod") => add::<core::v1::Pod>,
        ("", _, "ResourceQuota") => add::<core::v1::ResourceQuota>,
        ("", _, "Secret") => add::<core::v1::Secret>,
        ("", _, "Service") => add::<core::v1::Service>,
        ("", _, "ServiceAccount") => add::<core::v1::ServiceAccount>,
        ("apps", _, "DaemonSet") => add::<apps::v1::DaemonSet>,
        ("apps", _, "Deployment") => add::<apps::v1::Deployment>,
        ("apps", _, "ReplicaSet") => add::<apps::v1::ReplicaSet>,
        ("apps", _, "StatefulSet") => add::<apps::v1::StatefulSet>,
        ("autoscaling", "v1", _) => add::<autoscaling::v1::HorizontalPodAutoscaler>,
        ("autoscaling", _, _) => add::<autoscaling::v2::HorizontalPodAutoscaler>,
        ("batch", _, "CronJob") => add::<batch::v1::CronJob>,
        ("batch", _, "Job") => add::<batch::v1::Job>,
        ("networking.k8s.io", _, "Ingress") => add::<networking::v1::Ingress>,
        ("networking.k8s.io", _, "NetworkPolicy") => add::<networking::v1::NetworkPolicy>,
        ("rbac.authorization.k8s.io", _, "ClusterRole") => add::<rbac::v1::ClusterRole>,
        ("rbac.authorization.k8s.io", _, "ClusterRoleBinding") => {
            add::<rbac::v1::ClusterRoleBinding>
        }
        ("rbac.authorization.k8s.io", _, "Role") => add::<rbac::v1::Role>,
        ("rbac.authorization.k8s.io", _, "RoleBinding") => add::<rbac::v1::RoleBinding>,
        ("storage.k8s.io", _, "StorageClass") => add::<storage::v1::StorageClass>,
        ("policy", _, "PodDisruptionBudget") => add::<policy::v1::PodDisruptionBudget>,
        _ => return None,
    })
}

/// The schema of any other kind: a spec and a status with unknown fields.
fn own_schema(
    generator: &mut SchemaGenerator,
    metadata: &Schema,
    kind: &Kind,
    version: &str,
) -> String {
    let reversed: Vec<_> = kind.group.rsplit('.').collect();
    let name = format!("{}.{version}.{}", reversed.join("."), kind.kind);
    let open = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "x-kubernetes-preserve-unknown-fields": true,
        })
    };
    let schema = json!({
        "type": "object",
        "description": format!("{} of {}.", kind.kind, kind.group),
        "properties": {
            "apiVersion": {"type": "string", "description": "The API group and version of this object."},
            "kind": {"type": "string", "description": "The kind of this object."},
            "metadata": metadata,
            "spec": open("See the documentation of its API group."),
            "status": open("The state that the host observed."),
        },
    });
    generator.definitions_mut().insert(name.clone(), schema);
    name
}

/// Adds the keys of a strategic merge. They are the host's own, so that clients compute
/// their patches with the same keys.
fn add_merge_keys(name: &str, definition: &mut Value) {
    let Some(properties) = definition["properties"].as_object_mut() else {
        return;
    };
    let of_container = name.ends_with("Container");
    for (property, schema) in properties {
        if schema["type"] != "array" {
            continue;
        }
        let merge_key = match (property.as_str(), of_container) {
            ("ports", true) => Some("containerPort"),
            (property, _) => key_of(property, &[]),
        };
        if let Some(key) = merge_key {
            schema["x-kubernetes-patch-merge-key"] = key.into();
            schema["x-kubernetes-patch-strategy"] = "merge".into();
        }
    }
}

/// Replaces a Rust extension by the way in which a dialect describes `IntOrString`.
fn describe_int_or_string(definition: &mut Value, dialect: Dialect) {
    let Some(fields) = definition.as_object_mut() else {
        return;
    };
    if fields.remove("x-kubernetes-int-or-string").is_none() {
        return;
    }
    let description = match dialect {
        Dialect::V2 => json!({"type": "string", "format": "int-or-string"}),
        Dialect::V3 => json!({
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
        }),
    };
    let description: Map<_, _> = description.as_object().cloned().unwrap_or_default();
    fields.extend(description);
}
