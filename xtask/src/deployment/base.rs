//! The base image of the tests, created from Debian's packages without an image registry.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

use super::{Podman, read};

/// Stands in for `debian:bookworm-slim`, the default of the Dockerfile.
const IMAGE: &str = "localhost/debian:bookworm-slim";

/// Files that Debian's slim image omits too.
const LEFT_OUT: [&str; 6] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
];

/// Creates the image if it is missing.
pub(crate) fn ensure(workspace: &Workspace, podman: &Podman) -> Result<()> {
    let mut exists = podman.command();
    exists.args(["image", "exists", IMAGE]);
    if process::read(&mut exists).is_ok() {
        return Ok(());
    }
    let root = workspace.scratch("containers/debian")?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", "bookworm"])
        .arg(&root);
    read(&mut debootstrap).with_context(|| {
        format!(
            "cannot download Debian's packages; try again where a Debian mirror is reachable, or \
             import an image of Debian 12 as {IMAGE}: `docker save debian:bookworm-slim | {} load`",
            process::text(&podman.command())
        )
    })?;
    for folder in LEFT_OUT {
        let folder = root.join(folder);
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::create_dir_all(&folder)?;
    }
    let archive = root.with_extension("tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
    read(&mut tar)?;
    let mut import = podman.command();
    import.args(["import", "--change", "CMD [\"bash\"]", "--change"]);
    import.arg("ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    read(import.arg(&archive).arg(IMAGE))?;
    fs::remove_dir_all(&root)?;
    fs::remove_file(&archive)?;
    Ok(())
}
