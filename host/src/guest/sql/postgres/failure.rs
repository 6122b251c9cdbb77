//! Maps failures of a statement to errors that a guest can act on.
//!
//! Only the message of a server's error is passed on, because its detail contains rows.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{Severity, SqlState};

use super::Error;
use super::server::Server;
use crate::causes::with_causes;

/// Why work on a connection has no result.
pub(super) enum Trouble {
    Server(tokio_postgres::Error),
    /// The guest's mistake: nothing was sent.
    Mistake(Error),
    /// The host does not accept the result.
    Refused(Error),
    /// The server did not respond for this time.
    Silence(Duration),
}

impl Trouble {
    /// Whether the server has finished the statement and accepts the next one. It does not
    /// after the start of a COPY, in which it waits for rows or sends them, or when it closes
    /// the connection.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Mistake(_) => true,
            Self::Server(error) => error.as_db_error().is_some_and(|error| {
                !matches!(
                    error.parsed_severity(),
                    Some(Severity::Fatal | Severity::Panic)
                )
            }),
            Self::Refused(_) | Self::Silence(_) => false,
        }
    }

    /// The error for the guest.
    pub(super) fn into_error(self, server: &Server) -> Error {
        match self {
            Self::Mistake(error) | Self::Refused(error) => error,
            Self::Silence(limit) => Error::Unavailable(format!(
                "{} did not respond within {limit:?}; it is unknown whether the statement took effect",
                server.place()
            )),
            Self::Server(error) if is_lost(&error) => Error::Unavailable(format!(
                "the connection to {} was lost; it is unknown whether the statement took effect",
                server.place()
            )),
            Self::Server(error) => explain(&error, server),
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The error for a failed login.
pub(super) fn login(error: &tokio_postgres::Error, server: &Server) -> Error {
    match error.as_db_error() {
        Some(_) => explain(error, server),
        None if is_lost(error) => Error::Unavailable(format!(
            "{} closed the connection during login",
            server.place()
        )),
        // The server requires something that the URL does not contain.
        None => Error::AccessDenied(format!(
            "login to {}: {}",
            server.place(),
            with_causes(error)
        )),
    }
}

fn is_lost(error: &tokio_postgres::Error) -> bool {
    let source = error.source();
    error.is_closed() || source.is_some_and(|source| source.is::<io::Error>())
}

fn explain(error: &tokio_postgres::Error, server: &Server) -> Error {
    let Some(reported) = error.as_db_error() else {
        return Error::InvalidStatement(with_causes(error));
    };
    let message = reported.message().to_owned();
    let code = reported.code();
    if *code == SqlState::QUERY_CANCELED {
        return Error::Unavailable(format!(
            "{message}; a statement may take {:?}, or `statement_timeout` (milliseconds) of the URL",
            server.statement_timeout
        ));
    }
    let busy = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    let denied = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    if busy.contains(code) {
        return Error::Busy(message);
    }
    if denied.contains(code) {
        return Error::AccessDenied(message);
    }
    // Classes of SQLSTATE: PostgreSQL's manual, appendix A.
    match code.code().get(..2).unwrap_or_default() {
        "23" => Error::ConstraintViolated(message),
        "28" => Error::AccessDenied(message),
        // No connection, no such database, insufficient resources, shutdown, errors of the
        // system and of the server itself.
        "08" | "3D" | "53" | "57" | "58" | "XX" => {
            Error::Unavailable(format!("{}: {message}", server.place()))
        }
        _ => Error::InvalidStatement(message),
    }
}
