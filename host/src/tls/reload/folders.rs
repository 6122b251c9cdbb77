//! The folders of certificate files, watched for changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::READ_AGAIN;
use crate::tls::PemFile;

/// The folders that are watched: files are replaced, and so can be links on the way to them.
pub(crate) struct Folders {
    /// None if the system has no notifications left.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    pub(crate) fn new(changed: &Arc<Notify>) -> Self {
        let changed = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                changed.notify_one();
            }
        });
        let watcher = watcher.map_err(|error| {
            tracing::warn!(
                %error,
                "cannot watch certificate files; reading them every {} s",
                READ_AGAIN.as_secs()
            );
        });
        Self {
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
        }
    }

    /// Watches the folders of `files`, and no others. Blocks.
    pub(crate) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a PemFile>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<_> = files.map(|file| folder(&file.path())).collect();
        for gone in self
            .watched
            .extract_if(.., |folder| !wanted.contains(folder))
        {
            // The folder may have been removed.
            let _ = watcher.unwatch(&gone);
        }
        for folder in wanted {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(folder),
                Err(error) => {
                    let folder = folder.display();
                    tracing::debug!(%error, %folder, "cannot watch a folder of certificates");
                }
            }
        }
    }
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.into(),
        _ => PathBuf::from("."),
    }
}
