//! How much an emptyDir holds, as `du` would say it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Entries that are looked at. A volume with more is taken for full: nobody
/// may make the host count for ever.
const ENTRIES_MAX: usize = 100_000;

/// Bytes of disk below `folder`; what vanishes meanwhile is not counted.
pub(super) fn bytes(folder: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut linked = HashSet::new();
    let mut entries_left = ENTRIES_MAX;
    let mut folders: Vec<PathBuf> = vec![folder.into()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            let Some(left) = entries_left.checked_sub(1) else {
                return u64::MAX;
            };
            entries_left = left;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() < 2 || linked.insert((metadata.dev(), metadata.ino())) {
                bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            }
        }
    }
    bytes
}
