//! The services as components: `target/components/NAME/TAG.wasm`, where the host looks up
//! the image `NAME:TAG`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::{self, cargo};
use crate::wasm_target::{self, TARGET};
use crate::workspace::{Package, Workspace, selection};

/// The cargo profile of components.
pub(crate) const PROFILE: &str = "component";

/// Builds every version of every service and places it where the host looks it up.
pub(crate) fn build_services(workspace: &Workspace) -> Result<()> {
    let services = workspace.services();
    build(workspace, &services)?;
    for bin in services.iter().flat_map(|service| &service.bins) {
        let (name, tag) = image(bin)?;
        let destination = workspace
            .components()
            .join(name)
            .join(format!("{tag}.wasm"));
        if place(&built(workspace, bin), &destination)? {
            println!("{}", destination.display());
        }
    }
    Ok(())
}

/// Compiles the programs of these packages to components.
pub(crate) fn build(workspace: &Workspace, packages: &[&Package]) -> Result<()> {
    wasm_target::ensure()?;
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["build", "--target", TARGET, "--profile", PROFILE, "--bins"]);
    command.args(selection(packages));
    process::run(&mut command)
}

/// The path at which cargo writes the component of a program.
pub(crate) fn built(workspace: &Workspace, bin: &str) -> std::path::PathBuf {
    workspace
        .target
        .join(TARGET)
        .join(PROFILE)
        .join(format!("{bin}.wasm"))
}

/// Copies a component unless the destination already has the same content; returns
/// whether it was copied. The destination is replaced atomically, since a running host
/// may be watching it.
pub(crate) fn place(source: &Path, destination: &Path) -> Result<bool> {
    let read = || format!("cannot read {}", source.display());
    let component = fs::read(source).with_context(read)?;
    if fs::read(destination).is_ok_and(|present| present == component) {
        return Ok(false);
    }
    let write = || format!("cannot write {}", destination.display());
    let folder = destination.parent().with_context(write)?;
    fs::create_dir_all(folder).with_context(write)?;
    let unfinished = destination.with_extension("wasm.unfinished");
    fs::write(&unfinished, component).with_context(write)?;
    fs::rename(&unfinished, destination).with_context(write)?;
    Ok(true)
}

/// A service's program `NAME-TAG` becomes the image `NAME:TAG`.
fn image(bin: &str) -> Result<(&str, &str)> {
    bin.rsplit_once('-').with_context(|| {
        format!("the program {bin} of a service must be called NAME-TAG, as product-v1 is")
    })
}
