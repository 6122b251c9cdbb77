//! The Secrets by which a pod's image may be pulled: its own, then those of its
//! ServiceAccount. One that is not there is left out, as in a cluster; the
//! manifests' check warns of it.

use std::sync::Arc;

use galleria_manifest::model::{Object, PodSpec, Resource};

use super::configuration::Configuration;

const KEY: &str = ".dockerconfigjson";

/// The `.dockerconfigjson` of each, in the order in which they are tried.
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
