//! Manifest files: reading them, and watching them for changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use galleria_manifest::model::Object;
use galleria_manifest::{AllowUnenforced, Diagnostic, LoadResult, Severity};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::encryption::Encryption;

/// The quiet period that ends a change: editors write in several steps.
const GATHER: Duration = Duration::from_millis(100);

/// The files and folders of the command line.
#[derive(Clone)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    allowed: AllowUnenforced,
    /// Whether dangling references are errors.
    strict: bool,
    /// Where the Secrets of Istio's Gateways are, unless beside each Gateway.
    gateway_namespace: Option<String>,
    encryption: Arc<Encryption>,
    /// The host's data folder, which may be inside a folder of manifests.
    data: Option<PathBuf>,
}

/// The objects of all files, and their diagnostics.
pub(crate) struct FileContents {
    pub objects: Vec<Arc<Object>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl FileContents {
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl Files {
    /// Objects may have the restrictions of `allowed`, which the host does not enforce, and
    /// Secrets that `encryption` can decrypt.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        allowed: AllowUnenforced,
        encryption: Arc<Encryption>,
    ) -> Self {
        Self {
            paths,
            allowed,
            strict: false,
            gateway_namespace: None,
            encryption,
            data: None,
        }
    }

    /// Makes errors of dangling references if `strict`.
    pub(crate) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Looks for the Secrets of Istio's Gateways in `namespace`, if it is given.
    pub(crate) fn gateway_in(self, namespace: Option<&str>) -> Self {
        Self {
            gateway_namespace: namespace.map(str::to_owned),
            ..self
        }
    }

    /// Ignores changes inside `data`.
    pub(crate) fn excluding(self, data: &Path) -> Self {
        let data = data.canonicalize().unwrap_or_else(|_| data.into());
        Self {
            data: Some(data),
            ..self
        }
    }

    /// Reads all files. Blocks the thread, for long if the folders are large.
    pub(crate) fn read(&self) -> FileContents {
        let LoadResult {
            mut objects,
            mut diagnostics,
            ..
        } = galleria_manifest::load_for(&self.paths, self.gateway_namespace.as_deref())
            .allowing(&self.allowed);
        diagnostics.extend(self.encryption.decrypt_secrets(&mut objects));
        if self.strict {
            galleria_manifest::refuse_dangling(&mut diagnostics);
        }
        galleria_manifest::assign_node_ports(&mut objects);
        FileContents {
            objects,
            diagnostics,
        }
    }

    /// Starts watching for changes.
    ///
    /// # Errors
    /// The system's file notification is not available.
    pub(crate) fn watch(&self) -> notify::Result<Changes> {
        let changed = Arc::<ChangeSignal>::default();
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

/// Whether the event is more than a read, outside the host's data folder.
fn is_change(event: &notify::Event, data: Option<&Path>) -> bool {
    let own = |path: &PathBuf| {
        let real = path.canonicalize();
        data.is_some_and(|data| real.as_ref().unwrap_or(path).starts_with(data))
    };
    let all_own = !event.paths.is_empty() && event.paths.iter().all(own);
    !event.kind.is_access() && !all_own
}

/// A file is watched through its folder, because editors replace files.
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
    changed: Arc<ChangeSignal>,
    _watcher: RecommendedWatcher,
}

#[derive(Default)]
struct ChangeSignal {
    /// There is a change that [`Changes::next`] has not returned yet.
    pending: AtomicBool,
    notify: Notify,
}

impl Changes {
    /// Waits for the next change and its quiet period. Cancel safe: the next call
    /// returns the change.
    pub(crate) async fn next(&self) {
        let ChangeSignal { pending, notify } = &*self.changed;
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
    fn reads_and_the_data_folder_are_not_changes() {
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
