//! One manifest for each mistake, with all messages about it.

use galleria_manifest::{codes, load};

use super::{assert_snapshot, manifests_in, render};

/// Fewer would mean that files were lost.
const FILES_MIN: usize = 100;

#[test]
fn every_mistake_is_explained() {
    let files = manifests_in("tests/malformed");
    assert!(
        files.len() >= FILES_MIN,
        "only {} malformed manifests",
        files.len()
    );
    for file in files {
        let name = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name")
            .to_owned();
        let loaded = load(&[file]);
        assert!(!loaded.diagnostics.is_empty(), "{name} is not malformed");
        assert_snapshot("malformed", &name, &render(&loaded.diagnostics));
    }
}

#[test]
fn every_code_is_in_the_table_once() {
    let mut seen = std::collections::BTreeSet::new();
    for (code, meaning) in codes::ALL {
        assert!(seen.insert(code), "{code} stands twice");
        assert!(!meaning.is_empty());
    }
    for file in manifests_in("tests/malformed") {
        for diagnostic in load(&[file]).diagnostics {
            assert!(
                seen.contains(&diagnostic.code),
                "{} is not in the table",
                diagnostic.code
            );
        }
    }
}

#[test]
fn messages_keep_the_house_style() {
    for file in manifests_in("tests/malformed") {
        for diagnostic in load(&[file]).diagnostics {
            let message = &diagnostic.message;
            assert!(!message.ends_with('.'), "a final stop: {message}");
            let first = message.chars().next().expect("a message");
            let is_name = message.split([' ', '/']).next().is_some_and(|word| {
                word.chars().filter(|c| c.is_uppercase()).count() > 1
                    || proper_names().contains(&word)
            });
            assert!(!first.is_uppercase() || is_name, "a capital: {message}");
        }
    }
}

fn proper_names() -> &'static [&'static str] {
    &[
        "Deployment",
        "Gateway",
        "Job",
        "Service",
        "VirtualService",
        "Envoy's",
    ]
}
