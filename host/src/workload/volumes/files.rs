//! The files of volumes whose content comes from the API: configMap, secret,
//! downwardAPI, projected.

use galleria_manifest::WithPosition;
use galleria_manifest::model::{DownwardFile, EnvValue, FileSource, FileVolume, KeySource};

use super::VolumeError;
use super::atomic::{File, Payload};
use crate::workload::configuration::{Configuration, Values};
use crate::workload::field::{self, PodFacts};

/// The files that the volume should have now.
///
/// # Errors
/// Each ConfigMap, Secret or key that is missing and not optional.
pub(super) fn payload(
    volume: &FileVolume,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
) -> Result<Payload, Vec<VolumeError>> {
    let namespace = &facts.identity.namespace;
    let mut payload = Payload::new();
    let mut errors = Vec::new();
    for source in &volume.sources {
        let added = match source {
            FileSource::ConfigMap(keys) => {
                let values = configuration.config_map(namespace, &keys.name);
                add_keys(&mut payload, keys, "ConfigMap", values, volume.default_mode)
            }
            FileSource::Secret(keys) => {
                let values = configuration.secret(namespace, &keys.name);
                add_keys(&mut payload, keys, "Secret", values, volume.default_mode)
            }
            FileSource::DownwardApi(files) => files
                .iter()
                .try_for_each(|file| add_fact(&mut payload, file, facts, volume.default_mode)),
        };
        errors.extend(added.err());
    }
    if errors.is_empty() {
        Ok(payload)
    } else {
        Err(errors)
    }
}

fn add_keys(
    payload: &mut Payload,
    source: &KeySource,
    kind: &str,
    values: Option<&Values>,
    default_mode: u32,
) -> Result<(), VolumeError> {
    let missing = |at: &WithPosition<String>, message: String| {
        if source.optional {
            Ok(())
        } else {
            Err(VolumeError::new(at, message))
        }
    };
    let Some(values) = values else {
        return missing(
            &source.name,
            format!("there is no {kind} `{}`", source.name),
        );
    };
    let mut add = |path: &str, content: &[u8], mode: u32| {
        let content = content.to_vec();
        payload.insert(path.to_owned(), File { content, mode });
    };
    if source.items.is_empty() {
        for (key, value) in values.all() {
            add(key, value, default_mode);
        }
        return Ok(());
    }
    for item in &source.items {
        match values.get(&item.key) {
            Some(value) => add(&item.path, value, item.mode.unwrap_or(default_mode)),
            None => {
                let message = format!("{kind} `{}` has no key `{}`", source.name, item.key);
                missing(&item.key, message)?;
            }
        }
    }
    Ok(())
}

fn add_fact(
    payload: &mut Payload,
    file: &DownwardFile,
    facts: &PodFacts<'_>,
    default_mode: u32,
) -> Result<(), VolumeError> {
    let value = match &file.value {
        EnvValue::Field(path) => field::field(path, facts),
        EnvValue::ResourceField { resource, divisor } => {
            field::resource_field(resource, *divisor, facts)
        }
        // The manifest reader creates no other values here.
        _ => return Ok(()),
    };
    let value = value.map_err(|error| VolumeError {
        at: error.at,
        message: error.message,
    })?;
    let file_of = File {
        content: value.into_bytes(),
        mode: file.mode.unwrap_or(default_mode),
    };
    payload.insert(file.path.clone(), file_of);
    Ok(())
}
