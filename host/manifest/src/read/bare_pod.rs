//! Pod: one pod by its own name.

use super::pod;
use crate::decode::Fields;
use crate::model::{Labels, Pod, PodTemplate, Resource};

/// Reads all but labels and annotations, which are the object's.
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
