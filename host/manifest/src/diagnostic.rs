//! The problems of manifests, each with its position and a fix.

use std::fmt;

use crate::{Position, codes};

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Accepted, for information: a kind that is left to the cluster.
    Note,
    /// Accepted, but probably not intended: a field without effect.
    Warning,
    /// Refused: nothing in the folder is applied.
    Error,
}

/// A stable name of a class of problems: the code of Istio's analyzer (`IST0101`) if there is
/// one, otherwise `GAL…`.
pub type Code = &'static str;

/// One problem with its position. Displays as
/// `file:line:column: severity: kind/name: path.to.field: message [code]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub at: Position,
    pub severity: Severity,
    /// `Kind/name`, or `None` if the document does not have them.
    pub object: Option<String>,
    /// `spec.http[0].route[1].weight`, empty for the whole object.
    pub path: String,
    /// The problem and its fix.
    pub message: String,
    pub code: Code,
    /// The restriction that the host does not enforce, if this is about one. It is an error
    /// unless [`crate::AllowUnenforced`] has it.
    pub unenforced: Option<crate::Unenforced>,
}

impl Diagnostic {
    /// Whether this is about a reference to an object that does not exist (yet). The
    /// object with the reference is in effect; only the part that needs the missing object fails.
    pub fn is_dangling(&self) -> bool {
        let is_reference = [codes::NOT_FOUND, codes::BACKEND, codes::BACKEND_PORT];
        self.severity == Severity::Warning && is_reference.contains(&self.code)
    }
}

/// Makes errors of all dangling references (`--strict`).
pub fn refuse_dangling(diagnostics: &mut [Diagnostic]) {
    for diagnostic in diagnostics.iter_mut().filter(|it| it.is_dangling()) {
        diagnostic.severity = Severity::Error;
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.at, self.severity)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} [{}]", self.message, self.code)
    }
}
