//! The revision of a pod template: pods of the same revision are interchangeable.

use std::fmt::Write;

use galleria_manifest::model::Object;
use sha2::{Digest, Sha256};

use crate::guest::Component;

/// Ten hexadecimal digits of a digest over everything that a pod is made from: the
/// template, the PodPresets that apply, and the component. ConfigMaps and Secrets are
/// not included, since running pods follow their changes.
pub(super) fn revision(object: &Object, component: &Component, presets: &[&Object]) -> String {
    let mut digest = Sha256::new();
    digest.update(object.written_template().to_string());
    digest.update(component.digest());
    for preset in presets {
        digest.update(preset.written_spec().to_string());
    }
    digest
        .finalize()
        .iter()
        .take(5)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
