//! Pod.

use super::{guest_options, pod};
use crate::decode::{Decoder, Fields, steps};
use crate::model::{GuestOptions, Labels, Metadata, Pod, PodTemplate, Resource};

/// Reads the pod without its labels and annotations, which are those of the object.
pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let spec = fields.required("spec", pod::read);
    fields.finish(&[]);
    let template = PodTemplate {
        labels: Labels::new(),
        annotations: std::collections::BTreeMap::new(),
        options: GuestOptions::default(),
        spec: spec?,
    };
    Some(Resource::Pod(Pod { template }))
}

/// Takes labels and annotations from the object's own metadata.
pub(super) fn take_metadata(d: &mut Decoder, pod: &mut Pod, metadata: &Metadata) {
    let template = &mut pod.template;
    template.labels.clone_from(&metadata.labels);
    template.annotations.clone_from(&metadata.annotations);
    template.options = d.within(steps!["metadata", "annotations"], |d| {
        guest_options::read(d, &metadata.annotations)
    });
}
