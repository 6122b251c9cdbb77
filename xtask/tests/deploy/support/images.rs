//! The images under test and the images that they need, built once.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::printed;

/// The image's name.
pub const IMAGE: &str = concat!("localhost/galleria:", env!("CARGO_PKG_VERSION"));

/// The image's name, after it has been built from the host in `target/debug`.
pub fn image() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(IMAGE));
    IMAGE
}

/// Builds the image under a name, with the documented command.
pub fn build(name: &str) {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["image", "--engine", "buildah", "--from-target", "debug"]);
    printed(xtask.args(["--tag", name]));
}

/// Builds a stand-in for the database's image, under the name that the compose files use.
/// Its layers are kept between runs.
pub fn postgresql() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/postgresql");
        let mut build = Command::new("buildah");
        build.args(["build", "--layers", "--format", "docker"]);
        // Debian's packages are downloaded through this machine's network.
        build.args(["--network", "host"]);
        build.args(["--tag", "localhost/postgres:17.6-bookworm"]);
        printed(build.arg(folder));
    });
}
