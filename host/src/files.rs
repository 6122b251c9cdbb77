//! Manifests from files: the store's first source, read at start and whenever
//! something changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use galleria_manifest::model::Object;
use galleria_manifest::{Diagnostic, Loaded, Severity};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Editors write in several steps: changes are gathered this long.
const GATHER: Duration = Duration::from_millis(100);

/// The files and folders that the host was started with.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// The host's own data, which may lie among the manifests and is none.
    data: Option<PathBuf>,
}

/// What was read, and what there is to say about it.
pub(crate) struct Read {
    pub objects: Vec<Arc<Object>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl Read {
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl Files {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, data: None }
    }

    /// Takes no notice of what happens in `data`.
    pub(crate) fn excluding(self, data: &Path) -> Self {
        let data = data.canonicalize().unwrap_or_else(|_| data.into());
        Self {
            data: Some(data),
            ..self
        }
    }

    /// Reads everything. May take long for large folders: not for an asynchronous task.
    pub(crate) fn read(&self) -> Read {
        let Loaded {
            objects,
            diagnostics,
            ..
        } = galleria_manifest::load(&self.paths);
        Read {
            objects,
            diagnostics,
        }
    }

    /// Begins to watch for changes.
    ///
    /// # Errors
    /// The system's file notification is not available.
    pub(crate) fn watch(&self) -> notify::Result<Changes> {
        let changed = Arc::<Changed>::default();
        let notify = changed.clone();
        let data = self.data.clone();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| is_change(&event, data.as_deref())) {
                    notify.pending.store(true, Ordering::Release);
                    notify.notify.notify_one();
                }
            })?;
        for path in &self.paths {
            watcher.watch(watched(path), RecursiveMode::Recursive)?;
        }
        Ok(Changes {
            changed,
            _watcher: watcher,
        })
    }
}

/// Whether anything but reading happened, to anything but the host's own data.
fn is_change(event: &notify::Event, data: Option<&Path>) -> bool {
    let own = |path: &PathBuf| {
        let real = path.canonicalize();
        data.is_some_and(|data| real.as_ref().unwrap_or(path).starts_with(data))
    };
    let all_own = !event.paths.is_empty() && event.paths.iter().all(own);
    !event.kind.is_access() && !all_own
}

/// A single file is watched through its folder: editors replace files.
fn watched(path: &Path) -> &Path {
    if path.is_dir() {
        return path;
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A running watch.
pub(crate) struct Changes {
    changed: Arc<Changed>,
    _watcher: RecommendedWatcher,
}

#[derive(Default)]
struct Changed {
    /// Something changed that nobody has been told of yet.
    pending: AtomicBool,
    notify: Notify,
}

impl Changes {
    /// Waits for the next change, and until it has settled. Given up half way,
    /// it loses nothing: the next call returns the change.
    pub(crate) async fn next(&self) {
        let Changed { pending, notify } = &*self.changed;
        while !pending.load(Ordering::Acquire) {
            notify.notified().await;
        }
        while tokio::time::timeout(GATHER, notify.notified())
            .await
            .is_ok()
        {}
        pending.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use notify::EventKind;
    use notify::event::{AccessKind, CreateKind};

    use super::*;

    #[test]
    fn reading_and_the_hosts_own_data_are_no_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a real path");
        let (data, manifest) = (root.join("data"), root.join("shop.yaml"));
        std::fs::create_dir(&data).expect("a folder");
        std::fs::write(&manifest, "").expect("a file");
        let event = |kind, path: &Path| notify::Event::new(kind).add_path(path.into());
        let created = EventKind::Create(CreateKind::File);
        assert!(is_change(&event(created, &manifest), Some(&data)));
        assert!(!is_change(
            &event(EventKind::Access(AccessKind::Any), &manifest),
            Some(&data)
        ));
        assert!(!is_change(
            &event(created, &data.join("shop.db-wal")),
            Some(&data)
        ));
        assert!(is_change(&event(created, &data.join("shop.yaml")), None));
    }
}
