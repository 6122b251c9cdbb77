//! PodPreset: additions to the pods that it selects.

use super::{container, env, selector, volume};
use crate::decode::Fields;
use crate::model::{PodPreset, Resource};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let preset = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let selector = spec.required("selector", selector::read);
        let env = spec.list("env", env::variable);
        let env_from = spec.list("envFrom", env::source);
        let volumes = spec.list("volumes", volume::read);
        let volume_mounts = spec.list("volumeMounts", container::volume_mount);
        spec.finish(&[]);
        Some(PodPreset {
            selector: selector?,
            env,
            env_from,
            volumes,
            volume_mounts,
        })
    });
    fields.finish(&[]);
    Some(Resource::PodPreset(preset?))
}
