//! The files of a load, and their text.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{FILE_BYTES_MAX, FILES_MAX, FOLDER_DEPTH_MAX};
use crate::yaml::Mark;
use crate::{Code, Diagnostic, Position, Severity, codes};

/// Files in the order in which they are read, and problems with finding them.
#[derive(Default)]
pub(crate) struct FoundFiles {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    seen: HashSet<PathBuf>,
}

/// The files of `paths`: each file itself, and all manifests below each folder, sorted by
/// path. A file that is named twice is read once.
pub(crate) fn find(paths: &[PathBuf]) -> FoundFiles {
    let mut found = FoundFiles::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let before = found.files.len();
                found.folder(path, 0);
                if found.files.len() == before {
                    let message = "no manifest in this folder (*.yaml, *.yml, *.json)";
                    found.report(
                        path,
                        Severity::Warning,
                        codes::NOTHING_TO_READ,
                        message.to_owned(),
                    );
                }
            }
            Ok(_) => found.file(path.clone()),
            Err(error) => found.unreadable(path, &error),
        }
    }
    if found.files.len() > FILES_MAX {
        let message = format!("more than {FILES_MAX} manifests; is this the right folder?");
        let path = paths.first().cloned().unwrap_or_default();
        found.report(&path, Severity::Error, codes::LIMIT, message);
        found.files.clear();
    }
    found
}

impl FoundFiles {
    fn folder(&mut self, folder: &Path, depth: usize) {
        if depth > FOLDER_DEPTH_MAX {
            let message = format!("more than {FOLDER_DEPTH_MAX} folders deep; is a link circular?");
            self.report(folder, Severity::Error, codes::LIMIT, message);
            return;
        }
        let entries =
            fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut paths: Vec<PathBuf> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
            Err(error) => return self.unreadable(folder, &error),
        };
        paths.sort();
        for path in paths {
            if is_hidden(&path) || self.files.len() > FILES_MAX {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, depth + 1),
                Ok(_) if is_manifest(&path) => self.file(path),
                Ok(_) => {}
                Err(error) if is_manifest(&path) => self.unreadable(&path, &error),
                Err(_) => {}
            }
        }
    }

    fn file(&mut self, path: PathBuf) {
        let identity = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if self.seen.insert(identity) {
            self.files.push(path);
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let message = unreadable(error);
        self.report(path, Severity::Error, codes::FILE_UNREADABLE, message);
    }

    fn report(&mut self, path: &Path, severity: Severity, code: Code, message: String) {
        self.diagnostics
            .push(whole_file(&Arc::from(path), severity, code, message));
    }
}

/// The text of a file, without a byte order mark.
pub(crate) fn read(file: &Arc<Path>) -> Result<String, Box<Diagnostic>> {
    let refuse = |code, message| Err(whole_file(file, Severity::Error, code, message).into());
    let size = match fs::metadata(file) {
        Ok(metadata) => metadata.len(),
        Err(error) => return refuse(codes::FILE_UNREADABLE, unreadable(&error)),
    };
    if size > FILE_BYTES_MAX {
        let limit = FILE_BYTES_MAX / (1024 * 1024);
        return refuse(
            codes::LIMIT,
            format!("larger than {limit} MiB; split the file"),
        );
    }
    match fs::read(file) {
        Ok(bytes) => text(file, bytes),
        Err(error) => refuse(codes::FILE_UNREADABLE, unreadable(&error)),
    }
}

fn text(file: &Arc<Path>, bytes: Vec<u8>) -> Result<String, Box<Diagnostic>> {
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        let valid = &bytes[..error.utf8_error().valid_up_to()];
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let Mark { line, column } = Mark::after(&String::from_utf8_lossy(valid));
        let message = if utf16 {
            "the text is UTF-16; save it as UTF-8".to_owned()
        } else {
            "the text is not UTF-8 here; save the file as UTF-8".to_owned()
        };
        let mut diagnostic = whole_file(file, Severity::Error, codes::SYNTAX, message);
        diagnostic.at.line = line;
        diagnostic.at.column = column;
        Box::new(diagnostic)
    })
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be read: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn whole_file(file: &Arc<Path>, severity: Severity, code: Code, message: String) -> Diagnostic {
    let at = Position {
        file: Arc::clone(file),
        line: 1,
        column: 1,
    };
    Diagnostic {
        at,
        severity,
        object: None,
        path: String::new(),
        message,
        code,
        unenforced: None,
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Decides by the extension. A `kustomization.yaml` is not a manifest.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_recipe = path
        .file_stem()
        .is_some_and(|stem| stem.eq_ignore_ascii_case("kustomization"));
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_recipe
}
