//! What Istio's own validation accepts and refuses (`pkg/config/validation` of Istio). Each row
//! is a part of the `spec` of an object, with what the reader says.

mod destination_rule;
mod gateway;
mod service_entry;
mod sidecar;
mod virtual_service;

use std::path::{Path, PathBuf};

use galleria_manifest::{Severity, codes, read_str};

use super::render;

/// The right answer to a row.
pub(super) enum Answer {
    /// Without an error, and without a warning of a schema.
    Accepted,
    /// An error that contains the text.
    Refused(&'static str),
    /// Accepted, with a warning that contains the text: Istio refuses it, or has doubts too.
    Warned(&'static str),
}

pub(super) use Answer::{Accepted, Refused, Warned};

/// Puts each row in place of the `$` of a `spec` of `kind`, and compares the answer.
pub(super) fn check(kind: &str, frame: &str, rows: &[(&str, Answer)]) {
    let mut wrong = String::new();
    for (row, answer) in rows {
        let spec = frame.replace('$', row);
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: it, namespace: shop}}\nspec: {spec}\n"
        );
        let found = read_str(Path::new("it.yaml"), &text).diagnostics;
        let of = |severity| found.iter().filter(move |d| d.severity == severity);
        let said = |severity, code: &str, words: &str| {
            of(severity).any(|d| d.code == code && d.message.contains(words))
        };
        let is_right = match answer {
            Accepted => {
                of(Severity::Error).count() == 0
                    && !said(Severity::Warning, codes::SCHEMA_WARNING, "")
            }
            Refused(words) => said(Severity::Error, codes::SCHEMA, words),
            Warned(words) => {
                of(Severity::Error).count() == 0
                    && of(Severity::Warning).any(|d| d.message.contains(words))
            }
        };
        if !is_right {
            let expected = match answer {
                Accepted => "accepted".to_owned(),
                Refused(words) => format!("refused: {words}"),
                Warned(words) => format!("warned: {words}"),
            };
            wrong += &format!("{spec}\n  not {expected}\n{}", render(&found));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the repository deploys, and the slides' own manifests, as far as they are Istio's.
#[test]
fn deployed_manifests_are_accepted() {
    let mut folders = vec![PathBuf::from("../../deploy"), PathBuf::from("tests/deck")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let text = std::fs::read_to_string(&path).expect("a text");
                let found = read_str(&path, &text).diagnostics;
                let refused: Vec<_> = found
                    .into_iter()
                    .filter(|it| it.severity == Severity::Error && it.code == codes::SCHEMA)
                    .collect();
                assert!(refused.is_empty(), "{}", render(&refused));
                files += 1;
            }
        }
    }
    assert!(files > 60, "only {files} files");
}
