//! Normalises any path: two spellings of the same path must become the same text before a
//! rule or a policy compares them.

#![no_main]

use galleria_mesh::normalise_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    let Ok(path) = normalise_path(raw) else {
        return;
    };
    if path == "*" {
        return;
    }
    assert!(path.starts_with('/'), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    assert!(!path.contains('\\'), "{path}");
    let mut segments = path.split('/');
    assert!(
        segments.all(|segment| segment != "." && segment != ".."),
        "{path}"
    );
    let again = normalise_path(&path).expect("what was normalised is a path");
    assert_eq!(again, path, "normalising twice differs from once");
});
