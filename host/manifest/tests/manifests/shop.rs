//! The portal's own manifests are an example to others: nothing is said about them.

use std::path::PathBuf;

use galleria_manifest::model::Class;
use galleria_manifest::{Severity, load};

use super::render;

#[test]
fn the_shop_loads_without_a_word() {
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
