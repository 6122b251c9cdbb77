//! A container's environment: `env`, `envFrom`, and what they refer to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use galleria_manifest::model::{
    Container, EnvFrom, EnvSource, EnvValue, Labels, Object, PodTemplate, Quantity, Resource,
    VolumeSource,
};
use galleria_manifest::{Located, Position};
use galleria_mesh as mesh;
use sha2::{Digest, Sha256};

/// ConfigMaps and Secrets by namespace and name. `Debug` is left out on purpose.
#[derive(Clone, Default)]
pub(crate) struct Configuration {
    config_maps: Maps,
    secrets: Maps,
}

type Maps = BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>;

/// What `fieldRef` can ask of a pod.
pub(crate) struct PodFacts<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub address: &'a str,
    pub identity: &'a mesh::Workload,
    pub template: &'a PodTemplate,
    pub container: &'a Container,
}

/// A reference that leads nowhere. The message never holds a value.
#[derive(Debug)]
pub(crate) struct EnvironmentError {
    pub at: Position,
    pub message: String,
}

impl Configuration {
    pub(crate) fn of(objects: &[Arc<Object>]) -> Self {
        let mut configuration = Self::default();
        for object in objects {
            let key = (
                object.metadata.namespace.clone(),
                object.metadata.name.value.clone(),
            );
            match &object.resource {
                Resource::ConfigMap(map) => {
                    let text = map
                        .data
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                    let binary = map
                        .binary_data
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone()));
                    configuration
                        .config_maps
                        .insert(key, text.chain(binary).collect());
                }
                Resource::Secret(secret) => {
                    let values = secret
                        .data
                        .iter()
                        .map(|(key, value)| (key.clone(), value.expose().to_vec()));
                    configuration.secrets.insert(key, values.collect());
                }
                _ => {}
            }
        }
        configuration
    }

    /// Only what a pod of this template can see.
    pub(crate) fn referenced_by(&self, namespace: &str, template: &PodTemplate) -> Self {
        let mut maps: Vec<&str> = Vec::new();
        let mut secrets: Vec<&str> = Vec::new();
        for container in &template.spec.containers {
            for variable in &container.env {
                match &variable.value {
                    EnvValue::ConfigMapKey { name, .. } => maps.push(name.as_str()),
                    EnvValue::SecretKey { name, .. } => secrets.push(name.as_str()),
                    _ => {}
                }
            }
            for source in &container.env_from {
                match &source.source {
                    EnvSource::ConfigMap(name) => maps.push(name.as_str()),
                    EnvSource::Secret(name) => secrets.push(name.as_str()),
                }
            }
        }
        for volume in &template.spec.volumes {
            match &volume.source {
                VolumeSource::ConfigMap(keys) => maps.push(keys.name.as_str()),
                VolumeSource::Secret(keys) => secrets.push(keys.name.as_str()),
                _ => {}
            }
        }
        let only = |from: &Maps, names: &[&str]| {
            let wanted = |(space, name): &(String, String)| {
                space == namespace && names.contains(&name.as_str())
            };
            from.iter()
                .filter(|(key, _)| wanted(key))
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect()
        };
        Self {
            config_maps: only(&self.config_maps, &maps),
            secrets: only(&self.secrets, &secrets),
        }
    }

    pub(crate) fn digest(&self, digest: &mut Sha256) {
        for maps in [&self.config_maps, &self.secrets] {
            for ((namespace, name), values) in maps {
                digest.update(format!("{namespace}/{name}\0"));
                for (key, value) in values {
                    digest.update(key);
                    digest.update(b"\0");
                    digest.update(value);
                    digest.update(b"\0");
                }
            }
        }
    }

    pub(crate) fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.config_maps
            .get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned()))
    }
}

impl<'a> PodFacts<'a> {
    /// A stand-in for a pod that is still to be named: enough to check references.
    pub(crate) fn example(
        identity: &'a mesh::Workload,
        template: &'a PodTemplate,
        container: &'a Container,
    ) -> Self {
        Self {
            name: "",
            uid: "",
            address: "",
            identity,
            template,
            container,
        }
    }
}

/// The environment in Kubernetes' order: `envFrom` first, `env` over it, each
/// `$(NAME)` replaced by what was defined before it.
///
/// # Errors
/// Every reference to something that is not there and not optional.
pub(crate) fn resolve(
    container: &Container,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
) -> Result<Vec<(String, String)>, Vec<EnvironmentError>> {
    let mut environment = Environment::default();
    let mut errors = Vec::new();
    let namespace = &facts.identity.namespace;
    for source in &container.env_from {
        if let Err(error) = environment.add_all(source, namespace, configuration) {
            errors.push(error);
        }
    }
    for variable in &container.env {
        match value(
            &variable.value,
            namespace,
            configuration,
            facts,
            &environment,
        ) {
            Ok(Some(value)) => environment.set(&variable.name, value),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(environment.in_order())
    } else {
        Err(errors)
    }
}

/// Variables in the order of their first definition; the last value wins.
#[derive(Default)]
struct Environment {
    order: Vec<String>,
    values: HashMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    fn add_all(
        &mut self,
        from: &EnvFrom,
        namespace: &str,
        configuration: &Configuration,
    ) -> Result<(), EnvironmentError> {
        let (name, kind, values) = match &from.source {
            EnvSource::ConfigMap(name) => {
                (name, "ConfigMap", configuration.config_map(namespace, name))
            }
            EnvSource::Secret(name) => (name, "Secret", configuration.secret(namespace, name)),
        };
        let Some(values) = values else {
            return if from.optional {
                Ok(())
            } else {
                Err(missing(kind, name, namespace))
            };
        };
        for (key, value) in values {
            self.set(&format!("{}{key}", from.prefix), text(value));
        }
        Ok(())
    }

    /// Replaces `$(NAME)`; `$$(NAME)` stands for itself, and what is not
    /// defined stays as it is.
    fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            expanded.push_str(before);
            rest = if let Some(escaped) = from.strip_prefix("$$") {
                expanded.push('$');
                escaped
            } else if let Some((name, after)) = from
                .strip_prefix("$(")
                .and_then(|inner| inner.split_once(')'))
                && let Some(value) = self.values.get(name)
            {
                expanded.push_str(value);
                after
            } else {
                expanded.push('$');
                from.strip_prefix('$').unwrap_or_default()
            };
        }
        expanded.push_str(rest);
        expanded
    }

    fn in_order(mut self) -> Vec<(String, String)> {
        let value = |name: String| {
            let value = self.values.remove(&name).unwrap_or_default();
            (name, value)
        };
        self.order.into_iter().map(value).collect()
    }
}

fn value(
    value: &EnvValue,
    namespace: &str,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
    environment: &Environment,
) -> Result<Option<String>, EnvironmentError> {
    match value {
        EnvValue::Literal(literal) => Ok(Some(environment.expand(literal))),
        EnvValue::ConfigMapKey {
            name,
            key,
            optional,
        } => entry(
            configuration.config_map(namespace, name),
            "ConfigMap",
            name,
            key,
            *optional,
            namespace,
        ),
        EnvValue::SecretKey {
            name,
            key,
            optional,
        } => entry(
            configuration.secret(namespace, name),
            "Secret",
            name,
            key,
            *optional,
            namespace,
        ),
        EnvValue::Field(path) => field(path, facts).map(Some),
        EnvValue::ResourceField { resource, divisor } => {
            resource_field(resource, *divisor, facts.container).map(Some)
        }
    }
}

fn entry(
    values: Option<&BTreeMap<String, Vec<u8>>>,
    kind: &str,
    name: &Located<String>,
    key: &Located<String>,
    optional: bool,
    namespace: &str,
) -> Result<Option<String>, EnvironmentError> {
    match values {
        Some(values) => match values.get(key.as_str()) {
            Some(value) => Ok(Some(text(value))),
            None if optional => Ok(None),
            None => Err(EnvironmentError {
                at: key.at.clone(),
                message: format!("{kind} `{name}` has no key `{key}`"),
            }),
        },
        None if optional => Ok(None),
        None => Err(missing(kind, name, namespace)),
    }
}

fn missing(kind: &str, name: &Located<String>, namespace: &str) -> EnvironmentError {
    EnvironmentError {
        at: name.at.clone(),
        message: format!("there is no {kind} `{name}` in namespace `{namespace}`"),
    }
}

/// Where this host says it runs, for `spec.nodeName` and `status.hostIP`.
const NODE_NAME: &str = "galleria";
const HOST_ADDRESS: &str = "127.0.0.1";

fn field(path: &Located<String>, facts: &PodFacts<'_>) -> Result<String, EnvironmentError> {
    let keyed = |prefix: &str| {
        path.strip_prefix(prefix)?
            .strip_prefix("['")?
            .strip_suffix("']")
    };
    let labels: &Labels = &facts.template.labels;
    if let Some(key) = keyed("metadata.labels") {
        return Ok(labels.get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        let annotation = facts.template.annotations.get(key);
        return Ok(annotation
            .map(|value| value.value.clone())
            .unwrap_or_default());
    }
    let value = match path.as_str() {
        "metadata.name" => facts.name,
        "metadata.namespace" => &facts.identity.namespace,
        "metadata.uid" => facts.uid,
        "spec.nodeName" => NODE_NAME,
        "spec.serviceAccountName" => &facts.identity.service_account,
        "status.podIP" | "status.podIPs" => facts.address,
        "status.hostIP" | "status.hostIPs" => HOST_ADDRESS,
        other => {
            return Err(EnvironmentError {
                at: path.at.clone(),
                message: format!(
                    "`{other}` is no field that a pod can ask for; there are metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], metadata.annotations['KEY'], spec.nodeName, spec.serviceAccountName, status.podIP and status.hostIP"
                ),
            });
        }
    };
    Ok(value.to_owned())
}

fn resource_field(
    resource: &Located<String>,
    divisor: Option<Quantity>,
    container: &Container,
) -> Result<String, EnvironmentError> {
    let (requests, limits) = (&container.resources.requests, &container.resources.limits);
    let machine_cpu = std::thread::available_parallelism().map_or(1, usize::from) as u64 * 1000;
    let cpu = |millis: Option<u64>| i128::from(millis.unwrap_or(machine_cpu));
    let bytes = |bytes: Option<u64>| i128::from(bytes.unwrap_or(0)) * 1000;
    let millis = match resource.as_str() {
        "limits.cpu" => cpu(limits.cpu_millis),
        "requests.cpu" => i128::from(requests.cpu_millis.or(limits.cpu_millis).unwrap_or(0)),
        "limits.memory" => bytes(limits.memory),
        "requests.memory" => bytes(requests.memory.or(limits.memory)),
        "limits.ephemeral-storage" => bytes(limits.ephemeral_storage),
        "requests.ephemeral-storage" => {
            bytes(requests.ephemeral_storage.or(limits.ephemeral_storage))
        }
        other => {
            return Err(EnvironmentError {
                at: resource.at.clone(),
                message: format!(
                    "`{other}` is no resource; write limits or requests, a dot, and cpu, memory or ephemeral-storage"
                ),
            });
        }
    };
    let divisor = divisor.map_or(1000, |divisor| divisor.millis).max(1);
    // Rounded up, as Kubernetes does.
    Ok(((millis + divisor - 1) / divisor).to_string())
}

/// Environment variables are text; other bytes are replaced.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(values: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in values {
            environment.set(name, (*value).to_owned());
        }
        environment
    }

    #[test]
    fn references_are_expanded_as_kubernetes_does() {
        let environment = environment(&[("HOST", "db"), ("PORT", "5432")]);
        for (text, expanded) in [
            ("$(HOST):$(PORT)", "db:5432"),
            ("$$(HOST)", "$(HOST)"),
            ("$$$(HOST)", "$db"),
            ("$(NONE)", "$(NONE)"),
            ("$HOST", "$HOST"),
            ("$(HOST", "$(HOST"),
            ("cost: 5$", "cost: 5$"),
            ("", ""),
        ] {
            assert_eq!(environment.expand(text), expanded, "{text}");
        }
    }

    #[test]
    fn the_last_definition_wins_and_keeps_its_first_place() {
        let environment = environment(&[("A", "1"), ("B", "2"), ("A", "3")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(environment.in_order(), [pair("A", "3"), pair("B", "2")]);
    }
}
