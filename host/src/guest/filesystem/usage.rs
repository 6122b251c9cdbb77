//! Measures how much a volume contains.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many entries a volume may have. The limit also bounds the time of a measurement.
pub(super) const ENTRIES_MAX: u64 = 100_000;

/// The cost of an entry in addition to its content: its name, its inode, and the unused part
/// of its last block.
pub(super) const ENTRY_BYTES: u64 = 4096;

/// The content of a volume.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    /// The sizes of all files, including holes, and [`ENTRY_BYTES`] per entry.
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Usage {
    /// Adds everything below `folder`. Skips files that vanish and symbolic links, and stops
    /// after the maximum number of entries.
    pub(super) fn add_folder(&mut self, folder: &Path) {
        let mut linked = HashSet::new();
        let mut folders: Vec<PathBuf> = vec![folder.into()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries.flatten(),
                // Nested too deeply for a path: the content is unknown, so the volume counts
                // as full.
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

    /// Adds the content of one file.
    pub(super) fn add_content(&mut self, metadata: &fs::Metadata) {
        let blocks = metadata.blocks().saturating_mul(512);
        // The content of small files is included in the cost of their entry.
        let blocks = if blocks > ENTRY_BYTES { blocks } else { 0 };
        self.bytes = self.bytes.saturating_add(metadata.len().max(blocks));
    }
}
