//! A container network that is removed with its test.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{podman, printed};

/// A network with a name that no other test uses.
pub struct Network(String);

impl Network {
    pub fn create() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("galleria{}x{number}", std::process::id());
        printed(&mut podman(["network", "create", &name]));
        Self(name)
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A failed test has reported its error already.
        let _ = podman(["network", "rm", "--force", &self.0]).output();
    }
}
