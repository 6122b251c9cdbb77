//! What the pods of a template need: configuration, claims, an account.

use super::config;
use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{EnvSource, EnvValue, Object, PodTemplate, VolumeSource};

/// `place` is the template's path in its object, for example `spec.template`.
pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    template: &PodTemplate,
    place: &str,
) {
    let namespace = object.metadata.namespace.as_str();
    let pod = &template.spec;
    let account = &pod.service_account_name;
    if account.value != "default" && !index.has_account(namespace, account) {
        let near = report.near(account, || index.accounts_in(namespace));
        let message = format!("there is no ServiceAccount {namespace}/{account}{near}");
        let path = format!("{place}.spec.serviceAccountName");
        report.warning(object, &account.at, path, codes::SERVICE_ACCOUNT, message);
    }
    for (at, container) in pod.containers.iter().enumerate() {
        let container_place = format!("{place}.spec.containers[{at}]");
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
        for (at, source) in container
            .env_from
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.optional)
        {
            let path = format!("{container_place}.envFrom[{at}]");
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

fn volumes(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    template: &PodTemplate,
    place: &str,
) {
    for (at, volume) in template.spec.volumes.iter().enumerate() {
        let path = format!("{place}.spec.volumes[{at}]");
        match &volume.source {
            VolumeSource::PersistentVolumeClaim { claim_name, .. } => {
                let path = format!("{path}.persistentVolumeClaim.claimName");
                config::claim(index, report, object, claim_name, path);
            }
            VolumeSource::ConfigMap(source) if !source.optional => {
                let path = format!("{path}.configMap");
                config::config_map(index, report, object, &source.name, &path);
                for (key, _) in &source.items {
                    config::config_map_key(index, report, object, &source.name, key, &path);
                }
            }
            VolumeSource::Secret(source) if !source.optional => {
                let path = format!("{path}.secret");
                config::secret(index, report, object, &source.name, &path);
                for (key, _) in &source.items {
                    config::secret_key(index, report, object, &source.name, key, &path);
                }
            }
            _ => {}
        }
    }
}
