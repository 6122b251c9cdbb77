//! Loading: all files, all objects, and all problems at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{Object, ObjectKey};
use crate::read::Document;
use crate::yaml::{Node, Problem};
use crate::{Diagnostic, Position, Severity, admission, codes, files, read, references, yaml};

/// The result of a load.
#[derive(Debug, Clone, Default)]
pub struct LoadResult {
    /// In the order of files and documents, without objects that have an error or are replaced
    /// by a later one.
    pub objects: Vec<Arc<Object>>,
    /// Sorted by position.
    pub diagnostics: Vec<Diagnostic>,
    /// All files that were read.
    pub files: Vec<PathBuf>,
}

impl LoadResult {
    /// Whether the load is refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads files and folders (recursively; `*.yaml`, `*.yml`, `*.json`, sorted by
/// path, without hidden files and kustomizations), then checks the references between
/// objects.
///
/// All problems are in the result; there is no other error.
pub fn load(paths: &[PathBuf]) -> LoadResult {
    load_for(paths, None)
}

/// As [`load`], for a host whose gateway is in `gateway_namespace`: see
/// [`check_references`](crate::check_references).
pub fn load_for(paths: &[PathBuf], gateway_namespace: Option<&str>) -> LoadResult {
    let found = files::find(paths);
    let mut collector = Collector {
        diagnostics: found.diagnostics,
        ..Collector::default()
    };
    for path in &found.files {
        let file: Arc<Path> = Arc::from(path.as_path());
        match files::read(&file) {
            Ok(text) => collector.read(&file, &text),
            Err(diagnostic) => collector.diagnostics.push(*diagnostic),
        }
    }
    let refused = std::mem::take(&mut collector.refused);
    let mut loaded = collector.finish();
    loaded.diagnostics.extend(references::check(
        &loaded.objects,
        &refused,
        gateway_namespace,
    ));
    loaded
        .diagnostics
        .extend(admission::admit(&mut loaded.objects));
    loaded.diagnostics.sort();
    loaded.files = found.files;
    loaded
}

/// Reads a text as the content of `file`, without checking references.
pub fn read_str(file: &Path, text: &str) -> LoadResult {
    let mut collector = Collector::default();
    collector.read(&Arc::from(file), text);
    collector.finish()
}

/// Reads one document that is already a JSON value. References are not checked.
///
/// Diagnostics name `place` as their file, and have no line: see [`Position`].
pub fn read_json(place: &Path, value: &serde_json::Value) -> LoadResult {
    let place: Arc<Path> = Arc::from(place);
    let mut collector = Collector::default();
    match yaml::from_json(value) {
        Ok(root) if root.is_null() => {}
        Ok(root) => collector.documents(&place, &[root]),
        Err(problem) => collector.problem(&place, problem),
    }
    collector.finish()
}

#[derive(Default)]
struct Collector {
    objects: Vec<Arc<Object>>,
    refused: HashSet<ObjectKey>,
    diagnostics: Vec<Diagnostic>,
}

impl Collector {
    fn read(&mut self, file: &Arc<Path>, text: &str) {
        let parsed = yaml::parse(text.strip_prefix('\u{feff}').unwrap_or(text));
        for problem in parsed.problems {
            self.problem(file, problem);
        }
        self.documents(file, &parsed.documents);
    }

    fn problem(&mut self, file: &Arc<Path>, problem: Problem) {
        self.diagnostics.push(Diagnostic {
            at: Position {
                file: Arc::clone(file),
                line: problem.mark.line,
                column: problem.mark.column,
            },
            severity: Severity::Error,
            object: None,
            path: String::new(),
            message: problem.message,
            code: problem.code,
            unenforced: None,
        });
    }

    fn documents(&mut self, file: &Arc<Path>, roots: &[Node]) {
        let mut documents = Vec::new();
        for root in roots {
            read::documents(file, root, &mut documents);
        }
        for Document {
            object,
            key,
            diagnostics,
        } in documents
        {
            self.diagnostics.extend(diagnostics);
            match object {
                Some(object) => self.objects.push(Arc::new(object)),
                None => self.refused.extend(key),
            }
        }
    }

    /// Replaces objects by later ones with the same key, and reports that.
    fn finish(mut self) -> LoadResult {
        let mut last: HashMap<ObjectKey, usize> = HashMap::with_capacity(self.objects.len());
        let mut replaced: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, object) in self.objects.iter().enumerate() {
            if let Some(earlier) = last.insert(object.key(), index) {
                replaced.insert(earlier, index);
            }
        }
        for (earlier, later) in &replaced {
            let (earlier, later) = (&self.objects[*earlier], &self.objects[*later]);
            self.diagnostics.push(Diagnostic {
                at: earlier.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("{}/{}", earlier.kind, earlier.metadata.name)),
                path: String::new(),
                message: format!("replaced by the object of the same name at {}", later.at),
                code: codes::REPLACED,
                unenforced: None,
            });
        }
        let objects = self
            .objects
            .into_iter()
            .enumerate()
            .filter(|(index, _)| !replaced.contains_key(index))
            .map(|(_, object)| object)
            .collect();
        self.diagnostics.sort();
        LoadResult {
            objects,
            diagnostics: self.diagnostics,
            files: Vec::new(),
        }
    }
}
