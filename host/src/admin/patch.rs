//! Patches: what a client wants changed of an object as it is shown.

mod json;
pub(super) mod strategic;

use serde_json::Value;

use super::failure::Failure;
use super::kind::Kind;
use super::{body, bounds};

/// `object` with the patch that `media_type` says how to read.
///
/// # Errors
/// The patch is not understood, or does not fit the object.
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
        // Of kinds that are custom resources in a cluster nothing says how lists merge.
        "application/strategic-merge-patch+json" if !kind.is_custom => {
            strategic::merge(&mut object, read(patch)?);
        }
        other => return Err(Failure::UnsupportedMediaType(other.to_owned())),
    }
    Ok(object)
}

/// A patch that is itself like an object.
fn read(patch: &[u8]) -> Result<Value, Failure> {
    let patch = body::json(patch)?;
    bounds::check(&patch)?;
    Ok(patch)
}
