//! The components that the tests run, built by `cargo xtask test`.

use std::path::{Path, PathBuf};

/// The components of the shop.
pub fn shop_components() -> PathBuf {
    folder("GALLERIA_SHOP_COMPONENTS", "target/components")
}

/// The guests made for tests.
pub fn test_components() -> PathBuf {
    folder("GALLERIA_TEST_COMPONENTS", "target/test-components")
}

fn folder(variable: &str, default: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os(variable).map_or_else(|| workspace.join(default), PathBuf::from);
    assert!(
        folder.is_dir(),
        "{} is missing: run the tests with `cargo xtask test`, which builds it",
        folder.display()
    );
    folder
}
