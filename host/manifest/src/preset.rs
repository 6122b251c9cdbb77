//! Applies PodPresets to pod templates.
//!
//! A preset adds to the pods of its namespace that it selects. It never overrides a pod: if a
//! preset conflicts with it, no preset is applied, as in the admission plugin of a cluster.

use std::sync::Arc;

use crate::model::{Object, PodPreset, PodTemplate, Resource};
use crate::{Position, WithPosition};

/// `true` excludes a pod from all presets.
const EXCLUDE: &str = "podpreset.admission.kubernetes.io/exclude";
/// The prefix of annotations that name the applied presets.
const APPLIED: &str = "podpreset.admission.kubernetes.io/podpreset-";
/// The value of such an annotation, the preset's version; files have none.
const ANY_VERSION: &str = "0";

/// The PodPresets of some objects.
#[derive(Default)]
pub struct Presets<'a>(Vec<(&'a Object, &'a PodPreset)>);

/// A pod template with the additions of presets.
pub struct Preset<'a> {
    pub template: PodTemplate,
    /// The applied presets; none if one conflicts.
    pub applied: Vec<&'a Object>,
    pub conflicts: Vec<Conflict>,
}

/// Why presets are not applied to a pod.
pub struct Conflict {
    /// The position in the preset.
    pub at: Position,
    pub message: String,
}

impl<'a> Presets<'a> {
    pub fn of(objects: &'a [Arc<Object>]) -> Self {
        let presets = objects.iter().filter_map(|object| match &object.resource {
            Resource::PodPreset(preset) => Some((object.as_ref(), preset)),
            _ => None,
        });
        Self(presets.collect())
    }

    /// Applies the presets of `namespace` to a template.
    pub fn apply(&self, namespace: &str, template: &PodTemplate) -> Preset<'a> {
        let mut preset = Preset {
            template: template.clone(),
            applied: Vec::new(),
            conflicts: Vec::new(),
        };
        let excluded = template.annotations.get(EXCLUDE);
        if excluded.is_some_and(|value| value.as_str() == "true") {
            return preset;
        }
        for (object, spec) in &self.0 {
            if object.metadata.namespace == namespace && spec.selector.matches(&template.labels) {
                preset.add(object, spec);
            }
        }
        if !preset.conflicts.is_empty() {
            preset.template = template.clone();
            preset.applied.clear();
        }
        preset
    }
}

impl<'a> Preset<'a> {
    fn add(&mut self, object: &'a Object, spec: &PodPreset) {
        let name = object.metadata.name.as_str();
        let pod = &mut self.template.spec;
        let conflicts = &mut self.conflicts;
        let mut conflict = |thing: &str, of: &WithPosition<String>| {
            let message = format!(
                "PodPreset `{name}` sets another {thing} `{of}` than the pod, whose own value is \
                 kept; make both equal, or exclude the pod with the annotation `{EXCLUDE}: \
                 \"true\"`"
            );
            let at = of.at.clone();
            conflicts.push(Conflict { at, message });
        };
        merge(&mut pod.volumes, &spec.volumes, |own, added| {
            own.name == added.name
        })
        .for_each(|volume| conflict("volume", &volume.name));
        for container in &mut pod.containers {
            merge(&mut container.env, &spec.env, |own, added| {
                own.name == added.name
            })
            .for_each(|variable| conflict("variable", &variable.name));
            merge(
                &mut container.volume_mounts,
                &spec.volume_mounts,
                |own, added| own.name == added.name || own.mount_path == added.mount_path,
            )
            .for_each(|mount| conflict("mount at", &mount.mount_path));
            // Before those of the pod, which take precedence.
            let own = std::mem::replace(&mut container.env_from, spec.env_from.clone());
            container.env_from.extend(own);
        }
        for mount in &spec.volume_mounts {
            if !pod.volumes.iter().any(|volume| volume.name == mount.name) {
                let message = format!(
                    "neither PodPreset `{name}` nor the pod has a volume `{}`",
                    mount.name
                );
                let at = mount.name.at.clone();
                self.conflicts.push(Conflict { at, message });
            }
        }
        let version = WithPosition::new(ANY_VERSION.to_owned(), object.at.clone());
        self.template
            .annotations
            .insert(format!("{APPLIED}{name}"), version);
        self.applied.push(object);
    }
}

/// Adds missing entries; returns an existing one that differs.
fn merge<'p, T: Clone + PartialEq>(
    own: &mut Vec<T>,
    added: &'p [T],
    is_same: impl Fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'p T> {
    let mut differ = Vec::new();
    for item in added {
        if own.contains(item) {
            continue;
        }
        if own.iter().any(|it| is_same(it, item)) {
            differ.push(item);
        } else {
            own.push(item.clone());
        }
    }
    differ.into_iter()
}
