//! The deck's listings: enforced, left to the cluster, or refused with a
//! position and a reason.

use std::path::PathBuf;

use galleria_manifest::load;

use super::{assert_snapshot, describe, manifests_in};

#[test]
fn every_listing_loads_alone() {
    let mut text = String::new();
    for file in manifests_in("tests/deck") {
        let loaded = load(std::slice::from_ref(&file));
        assert!(
            !loaded.objects.is_empty() || loaded.has_errors(),
            "{} is passed over in silence",
            file.display()
        );
        text += &format!("## {}\n{}\n", file.display(), describe(&loaded));
    }
    assert_snapshot("deck", "each-file-alone", &text);
}

#[test]
fn the_listings_load_as_one_folder() {
    let loaded = load(&[PathBuf::from("tests/deck")]);
    assert_eq!(loaded.files.len(), 52);
    assert_snapshot("deck", "the-whole-folder", &describe(&loaded));
}

#[test]
fn no_field_of_the_deck_is_read_as_a_mistake_of_syntax() {
    for file in manifests_in("tests/deck") {
        let text = std::fs::read_to_string(&file).expect("a text");
        let loaded = galleria_manifest::read_str(&file, &text);
        assert!(!loaded.has_errors(), "{}", describe(&loaded));
    }
}
