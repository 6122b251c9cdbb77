//! What a Deployment's pods need: configuration, claims, an account.

use super::config;
use super::index::Index;
use super::report::Report;
use crate::codes;
use crate::model::{Deployment, EnvSource, EnvValue, Object, VolumeSource};

pub(super) fn check(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    deployment: &Deployment,
) {
    let namespace = object.metadata.namespace.as_str();
    let pod = &deployment.template.spec;
    let account = &pod.service_account_name;
    if account.value != "default" && !index.has_account(namespace, account) {
        let near = report.near(account, || index.accounts_in(namespace));
        let message = format!("there is no ServiceAccount {namespace}/{account}{near}");
        let path = "spec.template.spec.serviceAccountName".to_owned();
        report.warning(object, &account.at, path, codes::SERVICE_ACCOUNT, message);
    }
    for (at, container) in pod.containers.iter().enumerate() {
        let place = format!("spec.template.spec.containers[{at}]");
        for (at, variable) in container.env.iter().enumerate() {
            let path = format!("{place}.env[{at}].valueFrom");
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
            let path = format!("{place}.envFrom[{at}]");
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
    volumes(index, report, object, deployment);
}

fn volumes(index: &Index<'_>, report: &mut Report, object: &Object, deployment: &Deployment) {
    for (at, volume) in deployment.template.spec.volumes.iter().enumerate() {
        let path = format!("spec.template.spec.volumes[{at}]");
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
