//! A container's environment: `env` and `envFrom`.

use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, did_you_mean, located_string, non_empty, quantity, steps, string,
};
use crate::model::{EnvFrom, EnvSource, EnvValue, EnvVar};
use crate::yaml::{Node, Value};

const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

pub(super) fn variable(d: &mut Decoder, node: &Node) -> Option<EnvVar> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", |d, node| {
        let name = located_string(d, node)?;
        let printable = |c: char| matches!(c, ' '..='~') && c != '=';
        if name.is_empty() || !name.chars().all(printable) {
            let shown = d.show(&name);
            let message =
                format!("{shown} is not a valid variable name; use printable ASCII without `=`");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(name)
    });
    let literal = fields.optional("value", string);
    let reference = fields.optional("valueFrom", value_from);
    if fields.has("value") && fields.has("valueFrom") {
        let message = "`value` and `valueFrom` are mutually exclusive; keep one".to_owned();
        fields.error_at("valueFrom", codes::EXCLUSIVE_FIELDS, message);
    }
    let failed = fields.has("valueFrom") && reference.is_none();
    fields.finish(&[]);
    if failed {
        return None;
    }
    let value = reference.unwrap_or_else(|| EnvValue::Literal(literal.unwrap_or_default()));
    Some(EnvVar { name: name?, value })
}

fn value_from(d: &mut Decoder, node: &Node) -> Option<EnvValue> {
    let mut fields = Fields::of(d, node)?;
    let mut values = Vec::new();
    values.extend(fields.optional("configMapKeyRef", |d, node| {
        let (name, key, optional) = key_reference(d, node)?;
        Some(EnvValue::ConfigMapKey {
            name,
            key,
            optional,
        })
    }));
    values.extend(fields.optional("secretKeyRef", |d, node| {
        let (name, key, optional) = key_reference(d, node)?;
        Some(EnvValue::SecretKey {
            name,
            key,
            optional,
        })
    }));
    values.extend(fields.optional("fieldRef", field_reference));
    values.extend(fields.optional("resourceFieldRef", resource_reference));
    let sources = [
        "configMapKeyRef",
        "secretKeyRef",
        "fieldRef",
        "resourceFieldRef",
    ];
    let set = sources.iter().filter(|source| fields.has(source)).count();
    if set != 1 {
        let message = format!("needs exactly one of {}", sources.join(", "));
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&["fileKeyRef"]);
    values.pop()
}

fn key_reference(
    d: &mut Decoder,
    node: &Node,
) -> Option<(WithPosition<String>, WithPosition<String>, bool)> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let key = fields.required("key", located_string);
    let optional = fields.optional("optional", boolean).unwrap_or(false);
    fields.finish(&[]);
    Some((name?, key?, optional))
}

fn field_reference(d: &mut Decoder, node: &Node) -> Option<EnvValue> {
    pod_field(d, node, FIELD_PATHS)
}

/// `fieldRef` of a file, which supports whole maps, but not addresses or the node.
pub(super) fn volume_field(d: &mut Decoder, node: &Node) -> Option<EnvValue> {
    const PATHS: &[&str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.labels",
        "metadata.annotations",
    ];
    pod_field(d, node, PATHS)
}

fn pod_field(d: &mut Decoder, node: &Node, paths: &'static [&'static str]) -> Option<EnvValue> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("apiVersion", string);
    let path = fields.required("fieldPath", |d, node| {
        let path = located_string(d, node)?;
        let subscript = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .any(|start| path.starts_with(start) && path.ends_with("']"));
        if !subscript && !paths.contains(&path.as_str()) {
            let shown = d.show(&path);
            let hint = did_you_mean(&path, paths.iter().copied());
            let message = format!(
                "{shown} is not a field that a pod can read{hint} (one of {}, \
                 metadata.labels['KEY'], metadata.annotations['KEY'])",
                paths.join(", ")
            );
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(path)
    });
    fields.finish(&[]);
    path.map(EnvValue::Field)
}

pub(super) fn resource_reference(d: &mut Decoder, node: &Node) -> Option<EnvValue> {
    let mut fields = Fields::of(d, node)?;
    // A pod has one container, so its name is redundant.
    fields.optional("containerName", non_empty);
    let resource = fields.required("resource", |d, node| {
        let resource = located_string(d, node)?;
        if !RESOURCES.contains(&resource.as_str()) {
            let shown = d.show(&resource);
            let hint = did_you_mean(&resource, RESOURCES.iter().copied());
            let list = RESOURCES.join(", ");
            let message = format!("{shown} is not a resource{hint} (one of {list})");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(resource)
    });
    let divisor = fields.optional("divisor", |d, node| {
        let value = quantity(d, node)?;
        // Kubernetes writes `0` for "not set".
        Some((value.millis > 0).then_some(value))
    });
    fields.finish(&[]);
    Some(EnvValue::ResourceField {
        resource: resource?,
        divisor: divisor.flatten(),
    })
}

pub(super) fn source(d: &mut Decoder, node: &Node) -> Option<EnvFrom> {
    let mut fields = Fields::of(d, node)?;
    let prefix = fields.optional("prefix", string).unwrap_or_default();
    let config_map = fields.optional("configMapRef", source_reference);
    let secret = fields.optional("secretRef", source_reference);
    if fields.has("configMapRef") == fields.has("secretRef") {
        let message = "needs exactly one of configMapRef, secretRef";
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    fields.finish(&[]);
    let (source, optional) = match (config_map, secret) {
        (Some((name, optional)), _) => (EnvSource::ConfigMap(name), optional),
        (None, Some((name, optional))) => (EnvSource::Secret(name), optional),
        (None, None) => return None,
    };
    Some(EnvFrom {
        prefix,
        source,
        optional,
    })
}

fn source_reference(d: &mut Decoder, node: &Node) -> Option<(WithPosition<String>, bool)> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let optional = fields.optional("optional", boolean).unwrap_or(false);
    fields.finish(&[]);
    Some((name?, optional))
}

/// A duplicate variable: the last one wins, which is rarely intended.
pub(super) fn check_names(d: &mut Decoder, container: &Node) {
    let Some(Value::Sequence(variables)) = container.get("env").map(|env| &env.value) else {
        return;
    };
    let mut seen = std::collections::HashMap::new();
    for (index, variable) in variables.iter().enumerate() {
        let Some(name) = variable.get("name").and_then(Node::as_text) else {
            continue;
        };
        if let Some((line, earlier)) = seen.insert(name, (variable.mark.line, index)) {
            let place = match line {
                0 => format!("by env[{earlier}]"),
                line => format!("on line {line}"),
            };
            let message = format!("`{name}` is set {place} too; the last one wins");
            d.within(steps!["env", index], |d| {
                d.warning(variable.mark, codes::DUPLICATE_NAME, message);
            });
        }
    }
}
