//! Patches: what a client wants changed of an object as it is shown.

pub(super) mod strategic;

use json_patch::Patch;
use serde_json::Value;

use super::body;
use super::failure::Failure;
use super::kind::Kind;

/// Operations of one JSON Patch, as with an API server.
const OPERATIONS_MAX: usize = 10_000;

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
        "application/json-patch+json" => {
            let patch: Patch = serde_json::from_slice(patch)
                .map_err(|error| Failure::BadRequest(format!("the patch is not valid: {error}")))?;
            if patch.0.len() > OPERATIONS_MAX {
                return Err(Failure::TooLarge {
                    limit: OPERATIONS_MAX,
                });
            }
            json_patch::patch(&mut object, &patch)
                .map_err(|error| Failure::Unfit(format!("the patch does not fit: {error}")))?;
        }
        "application/merge-patch+json" => json_patch::merge(&mut object, &body::json(patch)?),
        // Of kinds that are custom resources in a cluster nothing says how lists merge.
        "application/strategic-merge-patch+json" if !kind.is_custom() => {
            strategic::merge(&mut object, body::json(patch)?);
        }
        other => return Err(Failure::UnsupportedMediaType(other.to_owned())),
    }
    Ok(object)
}
