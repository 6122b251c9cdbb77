//! What is wrong with a manifest, said so that it can be mended.

use std::fmt;

use crate::Position;

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Accepted, and worth knowing: a kind that is left to the cluster.
    Note,
    /// Accepted, and probably not what was meant: a field that is not honoured.
    Warning,
    /// Refused: nothing of the folder is applied.
    Error,
}

/// A stable name for a kind of problem: Istio's analyzer code (`IST0101`) where
/// Istio has one, `GAL…` elsewhere.
pub type Code = &'static str;

/// One problem, with its place. Displays as
/// `file:line:column: severity: kind/name: path.to.field: message [code]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    pub at: Position,
    pub severity: Severity,
    /// `Kind/name`, or `None` where the document could not be read that far.
    pub object: Option<String>,
    /// `spec.http[0].route[1].weight`, empty where the whole object is meant.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
    pub code: Code,
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
