//! Every guest made for tests is used by a test.

use std::path::Path;

/// Appends every source file below `folder` to `into`.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// A guest counts as tested if a test names it as an image. This finds unused guests, not
/// tests that assert too little.
#[test]
fn every_guest_is_used_by_a_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut text = String::new();
    for layer in ["binary", "in_process"] {
        sources(&tests.join(layer), &mut text);
    }
    let mut unused: Vec<String> = std::fs::read_dir(tests.join("guests/src/bin"))
        .expect("the guests")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.replace('_', "-")))
        .filter(|guest| {
            let image = [format!("\"{guest}\""), format!("image: {guest}")];
            !image.iter().any(|image| text.contains(image))
        })
        .collect();
    unused.sort();
    assert_eq!(unused, Vec::<String>::new(), "guests that no test uses");
}
