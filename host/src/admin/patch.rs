//! Patches, which apply to an object as it is shown.

mod json;
pub(super) mod strategic;

use serde_json::Value;

use super::failure::Failure;
use super::kind::Kind;
use super::{body, bounds};

/// Applies a patch of the type `media_type` to a copy of `object`.
///
/// # Errors
/// The patch does not parse, or does not apply to the object.
pub(super) fn patched(
    media_type: &str,
    patch: &[u8],
    kind: &Kind,
    object: &Value,
) -> Result<Value, Failure> {
    let mut object = object.clone();
    match media_type {
        "application/json-patch+json" => json::apply(&mut object, patch)?,
        "application/merge-patch+json" => json_patch::merge(&mut object, &read(patch)?),
        // The lists of custom resources have no merge keys.
        "application/strategic-merge-patch+json" if !kind.is_custom => {
            strategic::merge(&mut object, read(patch)?);
        }
        other => return Err(Failure::UnsupportedPatch(other.to_owned())),
    }
    Ok(object)
}

/// A patch that has the form of an object.
fn read(patch: &[u8]) -> Result<Value, Failure> {
    let patch = body::json(patch)?;
    if !patch.is_object() {
        return Err(Failure::BadRequest("the patch is not an object".into()));
    }
    bounds::check(&patch)?;
    Ok(patch)
}
