//! Every wait is listed in `docs/SECURITY.md`, with its bound and its maximum duration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Types on which one task of the host waits for another.
const WAITS: [&str; 7] = [
    "Semaphore::new(",
    "tokio::sync::Mutex",
    "mpsc::channel(",
    "unbounded_channel(",
    "mpsc::unbounded(",
    "oneshot::channel(",
    "Notify::new(",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if !["tests.rs", "testing.rs"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            found.push(path);
        }
    }
}

#[test]
fn every_wait_is_listed_with_a_bound_and_a_deadline() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let waiting: BTreeSet<String> = files
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            WAITS.iter().any(|wait| code.contains(wait))
        })
        .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned()))
        .collect();
    let page = std::fs::read_to_string(package.join("../docs/SECURITY.md")).expect("the page");
    let (_, list) = page.split_once("## Waits").expect("the list");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
            let full = cells.len() == 4 && cells.iter().all(|cell| !cell.trim().is_empty());
            assert!(
                full,
                "a row needs a file, what waits for what, a bound and a maximum wait: {row}"
            );
            cells[0].trim_end_matches('`').to_owned()
        })
        .collect();
    assert_eq!(waiting, listed, "docs/SECURITY.md, Waits");
}
