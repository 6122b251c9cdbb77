//! The references of a pod template: configuration, claims, an account.

use super::config;
use super::index::Index;
use super::report::Report;
use crate::WithPosition;
use crate::codes;
use crate::model::{
    EnvFrom, EnvSource, EnvValue, FileSource, Object, PodTemplate, VolumeSource, is_variable_name,
};

/// `place` is the path of the spec of the pods, for example `spec.template.spec`.
pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    template: &PodTemplate,
    place: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let preset = index.presets.apply(namespace, template);
    for conflict in preset.conflicts {
        let path = place.to_owned();
        report.warning(object, &conflict.at, path, codes::PRESET, conflict.message);
    }
    let template = &preset.template;
    let pod = &template.spec;
    let account = &pod.service_account_name;
    if account.value != "default" && !index.has_account(namespace, account) {
        let near = report.near(account, || index.accounts_in(namespace));
        let message = format!("there is no ServiceAccount {namespace}/{account}{near}");
        let path = format!("{place}.serviceAccountName");
        report.warning(object, &account.at, path, codes::SERVICE_ACCOUNT, message);
    }
    for (at, secret) in pod.image_pull_secrets.iter().enumerate() {
        let path = format!("{place}.imagePullSecrets[{at}].name");
        pull_secret(index, report, object, secret, path);
    }
    for (at, container) in pod.containers.iter().enumerate() {
        let container_place = format!("{place}.containers[{at}]");
        for (at, variable) in container.env.iter().enumerate() {
            let path = format!("{container_place}.env[{at}].valueFrom");
            match &variable.value {
                EnvValue::ConfigMapKey {
                    name,
                    key,
                    optional: false,
                } => {
                    let path = format!("{path}.configMapKeyRef");
                    config::config_map_key(index, report, object, name, key, &path);
                }
                EnvValue::SecretKey {
                    name,
                    key,
                    optional: false,
                } => {
                    let path = format!("{path}.secretKeyRef");
                    config::secret_key(index, report, object, name, key, &path);
                }
                _ => {}
            }
        }
        for (at, source) in container.env_from.iter().enumerate() {
            let path = format!("{container_place}.envFrom[{at}]");
            skipped_names(index, report, object, source, &path);
            if source.optional {
                continue;
            }
            match &source.source {
                EnvSource::ConfigMap(name) => {
                    let path = format!("{path}.configMapRef");
                    config::config_map(index, report, object, name, &path);
                }
                EnvSource::Secret(name) => {
                    config::secret(index, report, object, name, &format!("{path}.secretRef"));
                }
            }
        }
    }
    volumes(index, report, object, template, place);
}

/// As in a cluster, images are pulled without a missing secret.
fn pull_secret(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    name: &WithPosition<String>,
    path: String,
) {
    let namespace = object.metadata.namespace.as_str();
    let wrong = match index.secrets.get(&(namespace, name.as_str())) {
        Some((_, secret)) if secret.data.contains_key(".dockerconfigjson") => return,
        None if index.is_refused("Secret", namespace, name) => return,
        Some(_) => "has no key `.dockerconfigjson`",
        None => "is not declared",
    };
    let message =
        format!("the Secret {namespace}/{name} {wrong}; images are pulled without its logins");
    report.warning(object, &name.at, path, codes::CONFIG_REFERENCE, message);
}

/// As in a kubelet, keys that are not valid names of variables are skipped.
fn skipped_names(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    from: &EnvFrom,
    path: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let (name, keys): (_, Vec<&String>) = match &from.source {
        EnvSource::ConfigMap(name) => match index.config_maps.get(&(namespace, name)) {
            Some((_, map)) => (name, map.data.keys().collect()),
            None => return,
        },
        EnvSource::Secret(name) => match index.secrets.get(&(namespace, name)) {
            Some((_, secret)) => (name, secret.data.keys().collect()),
            None => return,
        },
    };
    let skipped: Vec<String> = keys
        .into_iter()
        .map(|key| format!("{}{key}", from.prefix))
        .filter(|name| !is_variable_name(name))
        .collect();
    if !skipped.is_empty() {
        let message = format!(
            "keys of `{name}` that are not valid variable names are skipped: {}",
            skipped.join(", ")
        );
        let code = codes::INVALID_VALUE;
        report.warning(object, &name.at, path.to_owned(), code, message);
    }
}

fn volumes(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    template: &PodTemplate,
    place: &str,
) {
    for (at, volume) in template.spec.volumes.iter().enumerate() {
        let path = format!("{place}.volumes[{at}]");
        match &volume.source {
            VolumeSource::PersistentVolumeClaim { claim_name, .. } => {
                let path = format!("{path}.persistentVolumeClaim.claimName");
                config::claim(index, report, object, claim_name, path);
            }
            VolumeSource::Files(files) => {
                for (at, source) in files.sources.iter().enumerate() {
                    let path = if files.projected {
                        format!("{path}.projected.sources[{at}]")
                    } else {
                        path.clone()
                    };
                    file_source(index, report, object, source, &path);
                }
            }
            _ => {}
        }
    }
}

fn file_source(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    source: &FileSource,
    path: &str,
) {
    match source {
        FileSource::ConfigMap(keys) if !keys.optional => {
            let path = format!("{path}.configMap");
            config::config_map(index, report, object, &keys.name, &path);
            for item in &keys.items {
                config::config_map_key(index, report, object, &keys.name, &item.key, &path);
            }
        }
        FileSource::Secret(keys) if !keys.optional => {
            let path = format!("{path}.secret");
            config::secret(index, report, object, &keys.name, &path);
            for item in &keys.items {
                config::secret_key(index, report, object, &keys.name, &item.key, &path);
            }
        }
        _ => {}
    }
}
