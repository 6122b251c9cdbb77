//! Positions: the file, line and column that every message names.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A position in a manifest. Lines and columns count from 1, columns in characters.
///
/// A value that was not read from a text has line 0, and its column only orders the
/// diagnostics of its object. Such a position displays as its file alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub file: Arc<Path>,
    pub line: u32,
    pub column: u32,
}

impl Position {
    /// The position `line:column` in `file`.
    pub fn new(file: impl Into<PathBuf>, line: u32, column: u32) -> Self {
        Self {
            file: Arc::from(file.into()),
            line,
            column,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

/// A value with the position that it was read from. Compares only by value.
#[derive(Debug, Clone)]
pub struct WithPosition<T> {
    pub value: T,
    pub at: Position,
}

impl<T> WithPosition<T> {
    pub fn new(value: T, at: Position) -> Self {
        Self { value, at }
    }
}

impl<T> Deref for WithPosition<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for WithPosition<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for WithPosition<T> {}

impl<T: fmt::Display> fmt::Display for WithPosition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
