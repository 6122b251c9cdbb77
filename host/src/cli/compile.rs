//! `galleria compile`: compiles components ahead of the first start, for instance when
//! an image is built.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::causes::with_causes;
use crate::guest::{Cache, Component, Engine};
use crate::terminal::{eprint, print};

/// Levels of folders that are searched: `NAME/TAG.wasm` has two.
const DEPTH_MAX: usize = 8;

pub(super) fn compile(components: &Path, folder: &Path) -> anyhow::Result<ExitCode> {
    let cache =
        Cache::open(folder).context("cannot use the cache folder; choose another with --cache")?;
    let mut files = Vec::new();
    find(components, DEPTH_MAX, &mut files)?;
    if files.is_empty() {
        bail!(
            "there is no component (*.wasm) in `{}`; name the folder passed to `galleria run` as \
             --components",
            components.display()
        );
    }
    files.sort();
    let engine = Engine::new()?;
    let mut failed = 0;
    for file in &files {
        match Component::load(&engine, &cache, file) {
            Ok(component) => print(&match component.compiled_in() {
                Some(took) => format!(
                    "{}: compiled in {:.1} s",
                    file.display(),
                    took.as_secs_f32()
                ),
                None => format!("{}: already compiled", file.display()),
            }),
            Err(error) => {
                eprint(&format!("error: {}", with_causes(&error)));
                failed += 1;
            }
        }
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read the folder `{}`", folder.display());
    for entry in folder.read_dir().with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            if depth > 1 {
                find(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|it| it == "wasm") {
            files.push(path);
        }
    }
    Ok(())
}
