//! Pod.

use super::pod;
use crate::decode::Fields;
use crate::model::{Labels, Pod, PodTemplate, Resource};

/// Reads the pod without its labels and annotations, which are those of the object.
pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let spec = fields.required("spec", pod::read);
    fields.finish(&[]);
    let template = PodTemplate {
        labels: Labels::new(),
        annotations: std::collections::BTreeMap::new(),
        spec: spec?,
    };
    Some(Resource::Pod(Pod { template }))
}
