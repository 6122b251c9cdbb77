//! Limits the open files of guests, so that none exhausts the host's descriptors.
//!
//! A file counts as long as anything of the guest keeps it open: a descriptor, a stream, or an
//! operation in progress.

use std::fs::File;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// How many files and folders the instances of a pod may have open together.
const POD_MAX: usize = 1024;

/// How many files and folders one instance may have open: the limit of an ordinary process on
/// a small system.
const INSTANCE_MAX: usize = 256;

/// The open files of a pod, or of one of its instances.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Weak<File>>,
    /// How many files are being opened.
    opening: usize,
}

/// A place for a file that is being opened.
#[derive(Debug)]
pub(super) struct Slot(Arc<OpenFiles>);

impl OpenFiles {
    pub(crate) fn of_pod() -> Arc<Self> {
        Self::new(POD_MAX)
    }

    pub(super) fn of_instance() -> Arc<Self> {
        Self::new(INSTANCE_MAX)
    }

    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            inner: Mutex::default(),
        })
    }

    /// `None` if the limit is reached.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Slot> {
        let mut inner = self.inner.lock();
        if inner.files.len() + inner.opening >= self.max {
            inner.files.retain(|file| file.strong_count() > 0);
        }
        if inner.files.len() + inner.opening >= self.max {
            return None;
        }
        inner.opening += 1;
        Some(Slot(self.clone()))
    }
}

impl Slot {
    /// Assigns the place to `file`, until it is closed.
    pub(super) fn fill(self, file: &Arc<File>) {
        let open = self.0.clone();
        let mut inner = open.inner.lock();
        inner.files.push(Arc::downgrade(file));
        drop(inner);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.opening -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_released_when_the_file_is_closed_or_not_opened() {
        let open = OpenFiles::new(2);
        let first = Arc::new(tempfile::tempfile().expect("a file"));
        open.admit().expect("a place").fill(&first);
        let opening = open.admit().expect("a place");
        assert!(open.admit().is_none());
        drop(opening);
        let second = Arc::new(tempfile::tempfile().expect("a file"));
        open.admit().expect("a place").fill(&second);
        let stream = first.clone();
        drop(first);
        assert!(open.admit().is_none(), "a stream still holds it");
        drop(stream);
        assert!(open.admit().is_some());
    }
}
