//! Why there is no plan.

use std::sync::Arc;

use galleria_manifest::model::Object;
use galleria_manifest::{Diagnostic, Position, Severity, codes};

/// Every problem of a set of objects.
#[derive(Debug, Default, thiserror::Error)]
#[error("the manifests have {} problems", .problems.len())]
pub(crate) struct PlanError {
    pub problems: Vec<Diagnostic>,
    /// The problems that may go away without a change.
    pub unavailable: Vec<UnavailableImage>,
}

/// An image that its registry does not serve now.
#[derive(Debug)]
pub(crate) struct UnavailableImage {
    /// The object whose pods use it.
    pub object: Arc<Object>,
    pub image: String,
    pub message: String,
}

/// The problems of one pod template.
pub(super) struct Problems<'a> {
    object: &'a Object,
    /// The path of the template's `spec`.
    spec: &'static str,
    found: Vec<Diagnostic>,
}

impl<'a> Problems<'a> {
    pub(super) fn of(object: &'a Object, spec: &'static str) -> Self {
        Self {
            object,
            spec,
            found: Vec::new(),
        }
    }

    /// Adds a problem with the field `field` of the template's `spec`.
    pub(super) fn add(&mut self, at: &Position, field: &str, message: String) {
        self.found.push(Diagnostic {
            at: at.clone(),
            severity: Severity::Error,
            object: Some(format!(
                "{}/{}",
                self.object.kind, self.object.metadata.name
            )),
            path: format!("{}.{field}", self.spec),
            message,
            code: codes::PLAN,
            unenforced: None,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.found
    }
}
