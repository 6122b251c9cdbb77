//! `galleria backup`: copies the databases below the data folder while the host runs.

use std::fs;
use std::path::{Path, PathBuf};

use galleria_sqlite::back_up;
use serde::{Deserialize, Serialize};

use crate::private_folder;

/// The databases of claims, in the data folder and in the copy.
const DATABASES: &str = "databases";

/// A request to copy the databases.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// A folder that does not exist yet; an absolute path on the host's machine.
    pub to: PathBuf,
}

/// The result of a backup.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BackupReport {
    pub files: Vec<PathBuf>,
}

/// Copies every database of a claim to the same path below `to`.
///
/// # Errors
/// A file cannot be read or written; the files copied before that are kept.
pub(super) fn copy(data: &Path, order: &Order) -> Result<BackupReport, String> {
    let to = &order.to;
    if !to.is_absolute() || to.exists() {
        return Err(format!(
            "`{}` is not a new folder; name one that does not exist yet, by its absolute path",
            to.display()
        ));
    }
    let root = data.join(DATABASES);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    make(to)?;
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let below = folder.strip_prefix(&root).unwrap_or(&folder);
        let copies = to.join(DATABASES).join(below);
        make(&copies)?;
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let is_beside = ["-wal", "-journal", "-partial", "-shm"]
                .iter()
                .any(|suffix| name.to_string_lossy().ends_with(suffix));
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && !is_beside => {
                    let copy = copies.join(&name);
                    back_up(&path, &copy)
                        .map_err(|error| format!("`{}`: {error}", path.display()))?;
                    files.push(copy);
                }
                _ => {}
            }
        }
    }
    files.sort();
    Ok(BackupReport { files })
}

fn make(folder: &Path) -> Result<(), String> {
    private_folder::create(folder)
        .map_err(|error| format!("cannot create `{}`: {error}", folder.display()))
}
