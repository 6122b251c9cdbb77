//! The values of ConfigMaps and Secrets, by name and key.
//!
//! No type here implements `Debug`, because values are secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use galleria_manifest::model::{
    EnvSource, EnvValue, FileSource, Object, PodSpec, Resource, VolumeSource,
};

/// The ConfigMaps and Secrets of a set of objects, or those that one pod refers to.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    config_maps: ValuesByName,
    secrets: ValuesByName,
}

/// By namespace and name.
type ValuesByName = BTreeMap<(String, String), Arc<Values>>;

/// The values of one ConfigMap or Secret.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Values {
    by_key: BTreeMap<String, Vec<u8>>,
    /// Keys of `binaryData`, which can be files but not variables.
    binary: BTreeSet<String>,
}

impl Configuration {
    pub(crate) fn of(objects: &[Arc<Object>]) -> Self {
        let mut configuration = Self::default();
        for object in objects {
            let key = (
                object.metadata.namespace.clone(),
                object.metadata.name.value.clone(),
            );
            if let Some(values) = Values::of(&object.resource) {
                let named = match &object.resource {
                    Resource::Secret(_) => &mut configuration.secrets,
                    _ => &mut configuration.config_maps,
                };
                named.insert(key, Arc::new(values));
            }
        }
        configuration
    }

    /// Only the objects that a pod with this `spec` refers to.
    pub(crate) fn referenced_by(&self, namespace: &str, pod: &PodSpec) -> Self {
        let references = References::of(pod);
        let only = |from: &ValuesByName, names: &[&str]| {
            let wanted = |(space, name): &(String, String)| {
                space == namespace && names.contains(&name.as_str())
            };
            from.iter()
                .filter(|(key, _)| wanted(key))
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect()
        };
        Self {
            config_maps: only(&self.config_maps, &references.config_maps),
            secrets: only(&self.secrets, &references.secrets),
        }
    }

    pub(crate) fn config_map(&self, namespace: &str, name: &str) -> Option<&Values> {
        let key = (namespace.to_owned(), name.to_owned());
        self.config_maps.get(&key).map(AsRef::as_ref)
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<&Values> {
        let key = (namespace.to_owned(), name.to_owned());
        self.secrets.get(&key).map(AsRef::as_ref)
    }
}

impl Values {
    fn of(resource: &Resource) -> Option<Self> {
        match resource {
            Resource::ConfigMap(map) => {
                let text = map.data.iter();
                let text = text.map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                Some(Self {
                    by_key: text.chain(map.binary_data.clone()).collect(),
                    binary: map.binary_data.keys().cloned().collect(),
                })
            }
            Resource::Secret(secret) => {
                let values = secret.data.iter();
                let values = values.map(|(key, value)| (key.clone(), value.expose().to_vec()));
                Some(Self {
                    by_key: values.collect(),
                    binary: BTreeSet::new(),
                })
            }
            _ => None,
        }
    }

    /// The bytes of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.by_key.get(key).map(Vec::as_slice)
    }

    /// All keys with their bytes.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let entries = self.by_key.iter();
        entries.map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// A key as the value of a variable; invalid UTF-8 is replaced.
    pub(crate) fn variable(&self, key: &str) -> Option<String> {
        let value = self.by_key.get(key)?;
        let text = || String::from_utf8_lossy(value).into_owned();
        (!self.binary.contains(key)).then(text)
    }

    /// All keys that can be variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, String)> {
        let keys = self.by_key.keys();
        keys.filter_map(|key| Some((key.as_str(), self.variable(key)?)))
    }
}

/// The names that a pod refers to.
#[derive(Default)]
struct References<'a> {
    config_maps: Vec<&'a str>,
    secrets: Vec<&'a str>,
}

impl<'a> References<'a> {
    fn of(pod: &'a PodSpec) -> Self {
        let mut references = Self::default();
        for container in &pod.containers {
            for variable in &container.env {
                match &variable.value {
                    EnvValue::ConfigMapKey { name, .. } => references.config_maps.push(name),
                    EnvValue::SecretKey { name, .. } => references.secrets.push(name),
                    _ => {}
                }
            }
            for source in &container.env_from {
                match &source.source {
                    EnvSource::ConfigMap(name) => references.config_maps.push(name),
                    EnvSource::Secret(name) => references.secrets.push(name),
                }
            }
        }
        for volume in &pod.volumes {
            let VolumeSource::Files(files) = &volume.source else {
                continue;
            };
            for source in &files.sources {
                match source {
                    FileSource::ConfigMap(keys) => references.config_maps.push(&keys.name),
                    FileSource::Secret(keys) => references.secrets.push(&keys.name),
                    FileSource::DownwardApi(_) => {}
                }
            }
        }
        references
    }
}
