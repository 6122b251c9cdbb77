//! The images under test, and what they need: built once.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::printed;

/// The image's name.
pub const IMAGE: &str = concat!("localhost/galleria:", env!("CARGO_PKG_VERSION"));

/// The image's name, once it is built from the host in `target/debug`.
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

/// Makes what stands for the database's image, under the name that the compose files
/// have. Its layers stay from run to run.
pub fn postgresql() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/postgresql");
        let mut build = Command::new("buildah");
        build.args(["build", "--layers", "--format", "docker"]);
        // Debian's packages come by this machine's network.
        build.args(["--network", "host"]);
        build.args(["--tag", "localhost/postgres:17.6-bookworm"]);
        printed(build.arg(folder));
    });
}
