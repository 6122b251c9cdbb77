//! The Secrets for pulling a pod's image: those of the pod, then those of its
//! ServiceAccount. As in a cluster, a Secret that does not exist is ignored; the manifest
//! reader warns of it.

use std::sync::Arc;

use galleria_manifest::model::{Object, PodSpec, Resource};

use super::configuration::Configuration;

const KEY: &str = ".dockerconfigjson";

/// The `.dockerconfigjson` of each Secret, in the order in which they are tried.
pub(super) fn of<'a>(
    pod: &PodSpec,
    namespace: &str,
    objects: &[Arc<Object>],
    configuration: &'a Configuration,
) -> Vec<&'a [u8]> {
    let account = objects.iter().find_map(|object| match &object.resource {
        Resource::ServiceAccount(account)
            if object.metadata.namespace == namespace
                && object.metadata.name.value == pod.service_account_name.value =>
        {
            Some(account)
        }
        _ => None,
    });
    let of_account = account.map_or(&[][..], |account| &account.image_pull_secrets);
    pod.image_pull_secrets
        .iter()
        .chain(of_account)
        .filter_map(|name| configuration.secret(namespace, name)?.get(KEY))
        .collect()
}
