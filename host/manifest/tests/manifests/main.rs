//! The reader from outside: what people read of it, and what must always hold.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's helpers fail by panic and print the seed"
)]

mod analyzers;
mod authorization;
mod deck;
mod envoy_filter;
mod folders;
mod json;
mod malformed;
mod mesh_config;
mod properties;
mod secrets;
mod shop;
mod validation;
mod values;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use galleria_manifest::{Diagnostic, LoadResult};

/// The manifests in `folder` (below this crate), sorted; not its subfolders'.
fn manifests_in(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the tests run in the crate's folder")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "yaml" || ext == "json")
        })
        .collect();
    files.sort();
    files
}

/// Objects with their class, then the diagnostics: one a line.
fn describe(loaded: &LoadResult) -> String {
    let mut text = String::new();
    for object in &loaded.objects {
        let _ = writeln!(text, "{}: {}", object.key(), object.class());
    }
    text + &render(&loaded.diagnostics)
}

fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect()
}

fn assert_snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("..").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
