//! How many files guests hold open, so that none takes the host's descriptors.
//!
//! Files are counted as long as they are open, whoever of the guest holds them:
//! a descriptor, a stream made from it, an operation under way.

use std::fs::File;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Files and folders that the instances of a pod hold open together.
const POD_MAX: usize = 1024;

/// Files and folders that one instance holds open: the descriptors that an
/// ordinary process gets on a small system.
const INSTANCE_MAX: usize = 256;

/// What a pod, or one of its instances, holds open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Weak<File>>,
    /// Files about to be opened.
    opening: usize,
}

/// A place for a file that is about to be opened.
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

    /// None where as many are open as may be.
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
    /// Gives the place to `file`, until it is closed.
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
    fn a_place_is_free_again_when_the_file_is_closed_or_never_opened() {
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
