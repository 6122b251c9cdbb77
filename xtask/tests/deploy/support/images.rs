//! The image under test: built once, from the host in `target/debug`.

use std::process::Command;
use std::sync::OnceLock;

use super::printed;

/// The image's name.
pub const IMAGE: &str = concat!("localhost/galleria:", env!("CARGO_PKG_VERSION"));

/// The image's name, once it is built.
pub fn image() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(IMAGE));
    IMAGE
}

/// Builds the image under a name, by the command that people type.
pub fn build(name: &str) {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["image", "--engine", "buildah", "--from-target", "debug"]);
    printed(xtask.args(["--tag", name]));
}
