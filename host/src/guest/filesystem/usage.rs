//! How much a volume holds.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Entries that a volume may have, and that are looked at: nobody may make the
/// host count for ever.
pub(super) const ENTRIES_MAX: u64 = 100_000;

/// What every entry costs beside its content: its name, its node, the part of a
/// block that its content leaves empty.
pub(super) const ENTRY_BYTES: u64 = 4096;

/// What is in a volume.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// Content as files say it, holes included, and [`ENTRY_BYTES`] per entry.
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Usage {
    /// Adds what is below `folder`; what vanishes meanwhile is not counted, no
    /// link is followed, and nothing after the last entry that a volume may have.
    pub(super) fn add_folder(&mut self, folder: &Path) {
        let mut linked = HashSet::new();
        let mut folders: Vec<PathBuf> = vec![folder.into()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries.flatten(),
                // Deeper than a path can say: what is in there is not seen, and
                // nothing more may come.
                Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                    self.entries = ENTRIES_MAX;
                    return;
                }
                Err(_) => continue,
            };
            for entry in entries {
                if self.entries >= ENTRIES_MAX {
                    return;
                }
                self.entries += 1;
                self.bytes = self.bytes.saturating_add(ENTRY_BYTES);
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else if metadata.nlink() < 2 || linked.insert((metadata.dev(), metadata.ino())) {
                    self.add_content(&metadata);
                }
            }
        }
    }

    /// Adds what one file holds.
    pub(super) fn add_content(&mut self, metadata: &fs::Metadata) {
        let blocks = metadata.blocks().saturating_mul(512);
        // Small files are paid with their entry.
        let blocks = if blocks > ENTRY_BYTES { blocks } else { 0 };
        self.bytes = self.bytes.saturating_add(metadata.len().max(blocks));
    }
}
