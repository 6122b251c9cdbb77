//! Collects the problems that the checks find.

use crate::decode::nearest;
use crate::model::Object;
use crate::{Code, Diagnostic, Position, Severity};

/// Suggestions per load. Each compares a name with all others, so that the cost would be
/// quadratic if every name were wrong.
const SUGGESTIONS_MAX: usize = 500;

pub(super) struct Report {
    diagnostics: Vec<Diagnostic>,
    suggestions_left: usize,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            diagnostics: Vec::new(),
            suggestions_left: SUGGESTIONS_MAX,
        }
    }
}

impl Report {
    pub(super) fn error(
        &mut self,
        object: &Object,
        at: &Position,
        path: String,
        code: Code,
        message: String,
    ) {
        self.push(object, at, Severity::Error, path, code, message);
    }

    pub(super) fn warning(
        &mut self,
        object: &Object,
        at: &Position,
        path: String,
        code: Code,
        message: String,
    ) {
        self.push(object, at, Severity::Warning, path, code, message);
    }

    pub(super) fn note(
        &mut self,
        object: &Object,
        at: &Position,
        path: String,
        code: Code,
        message: String,
    ) {
        self.push(object, at, Severity::Note, path, code, message);
    }

    fn push(
        &mut self,
        object: &Object,
        at: &Position,
        severity: Severity,
        path: String,
        code: Code,
        message: String,
    ) {
        self.diagnostics.push(Diagnostic {
            at: at.clone(),
            severity,
            object: Some(format!("{}/{}", object.kind, object.metadata.name)),
            path,
            message,
            code,
            unenforced: None,
        });
    }

    /// `; did you mean …?` with the nearest of `candidates`, or nothing.
    pub(super) fn near<'c, I>(&mut self, name: &str, candidates: impl FnOnce() -> I) -> String
    where
        I: Iterator<Item = &'c str>,
    {
        if !self.may_suggest() {
            return String::new();
        }
        nearest(name, candidates())
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
    }

    /// As [`Report::near`], or `; otherwise` if nothing is near.
    pub(super) fn near_or<'c, I>(
        &mut self,
        name: &str,
        candidates: impl FnOnce() -> I,
        otherwise: &str,
    ) -> String
    where
        I: Iterator<Item = &'c str>,
    {
        let near = self.near(name, candidates);
        if near.is_empty() {
            format!("; {otherwise}")
        } else {
            near
        }
    }

    /// Uses one of the remaining suggestions.
    pub(super) fn may_suggest(&mut self) -> bool {
        let may = self.suggestions_left > 0;
        self.suggestions_left = self.suggestions_left.saturating_sub(1);
        may
    }

    pub(super) fn finish(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}
