//! Namespace.

use crate::decode::Fields;
use crate::model::{Namespace, Resource};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    // `spec` has only finalizers, which a cluster writes.
    fields.ignore(&["spec"]);
    fields.finish(&[]);
    Some(Resource::Namespace(Namespace {}))
}
