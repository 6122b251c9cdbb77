//! The manifests of the shop are an example, so they load without a message.

use std::path::PathBuf;

use galleria_manifest::model::Class;
use galleria_manifest::{Severity, load};

use super::render;

#[test]
fn the_shop_loads_without_a_message() {
    let loaded = load(&[PathBuf::from("../../deploy/shop")]);
    let problems: Vec<_> = loaded
        .diagnostics
        .into_iter()
        .filter(|d| d.severity > Severity::Note)
        .collect();
    assert!(problems.is_empty(), "{}", render(&problems));
    assert!(loaded.objects.len() >= 20);
    assert!(
        loaded
            .objects
            .iter()
            .all(|object| object.class() == Class::Enforced)
    );
}
