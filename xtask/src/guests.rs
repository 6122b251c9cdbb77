//! The guests of the host's tests: `target/test-components/NAME.wasm`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;

use anyhow::Result;

use crate::components::{build, built, place};
use crate::javascript;
use crate::workspace::Workspace;

/// Builds every guest, in Rust and in JavaScript, and removes guests that no longer
/// exist.
pub(crate) fn build_guests(workspace: &Workspace) -> Result<()> {
    let guests = workspace.package("galleria-test-guests")?;
    build(workspace, &[guests])?;
    let mut names = BTreeSet::new();
    for bin in &guests.bins {
        let name = format!("{}.wasm", bin.replace('_', "-"));
        place(
            &built(workspace, bin),
            &workspace.test_components().join(&name),
        )?;
        names.insert(OsString::from(name));
    }
    names.insert(javascript::build(workspace)?);
    for entry in fs::read_dir(workspace.test_components())? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    println!(
        "{} guests in {}",
        names.len(),
        workspace.test_components().display()
    );
    Ok(())
}

/// Builds the guests in Rust and returns the names of their files.
pub(crate) fn build_rust(workspace: &Workspace) -> Result<BTreeSet<OsString>> {
    let guests = workspace.package("galleria-test-guests")?;
    build(workspace, &[guests])?;
    let mut names = BTreeSet::new();
    for bin in &guests.bins {
        let name = format!("{}.wasm", bin.replace('_', "-"));
        place(
            &built(workspace, bin),
            &workspace.test_components().join(&name),
        )?;
        names.insert(OsString::from(name));
    }
    Ok(names)
}
