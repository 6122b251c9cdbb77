//! Why a statement failed, grouped by what the caller can do about it.

use rusqlite::ffi;

/// Messages name tables and columns, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    AccessDenied(String),
    #[error("{0}")]
    InvalidStatement(String),
    #[error("{0}")]
    ConstraintViolated(String),
    /// Another connection holds the lock.
    #[error("{0}")]
    Busy(String),
    /// The file is missing, damaged, or cannot grow.
    #[error("{0}")]
    Unavailable(String),
    /// A value, the result, or the memory of the statement.
    #[error("{0}")]
    TooLarge(String),
    /// The watch ended it.
    #[error("the statement was ended")]
    Ended,
    /// It writes, but the connection is read-only. It had no effect.
    #[error("the statement writes")]
    Writes,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let (code, message) = match error {
            rusqlite::Error::SqliteFailure(failure, message) => {
                let message = message.unwrap_or_else(|| failure.to_string());
                (failure.extended_code & 0xff, message)
            }
            rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code & 0xff, msg),
            rusqlite::Error::MultipleStatement => {
                let message = "multiple statements at once; run them one by one, or as a script";
                return Self::InvalidStatement(message.into());
            }
            other => return Self::InvalidStatement(other.to_string()),
        };
        match code {
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Self::Busy(message),
            ffi::SQLITE_CONSTRAINT => Self::ConstraintViolated(message),
            ffi::SQLITE_IOERR
            | ffi::SQLITE_CORRUPT
            | ffi::SQLITE_FULL
            | ffi::SQLITE_CANTOPEN
            | ffi::SQLITE_NOTADB => Self::Unavailable(message),
            ffi::SQLITE_READONLY | ffi::SQLITE_AUTH => Self::AccessDenied(message),
            ffi::SQLITE_TOOBIG => Self::TooLarge(message),
            ffi::SQLITE_NOMEM => Self::TooLarge(
                "the statement needs more memory than the pod has left of its `limits.memory`"
                    .into(),
            ),
            ffi::SQLITE_INTERRUPT => Self::Ended,
            // SQLite refuses it before the authorizer is asked about the file that it
            // needs.
            _ if message.starts_with("cannot VACUUM") => Self::AccessDenied(message),
            _ => Self::InvalidStatement(message),
        }
    }
}
