//! A network of containers that goes with its test.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{podman, printed};

/// A network of a name that no other test has.
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
        // A test that failed has said so already.
        let _ = podman(["network", "rm", "--force", &self.0]).output();
    }
}
