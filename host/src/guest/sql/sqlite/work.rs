//! What a guest asks for: one statement, or a script.

use galleria_sqlite::{self as sqlite, AnswerLimits, Connection, HostStatement, Kind, Rows, Watch};

use super::{Value, into_sqlite};

pub(super) type Outcome = Result<Rows, sqlite::Error>;

pub(in crate::guest::sql) enum Work {
    Statement(Statement),
    Script(String),
}

pub(in crate::guest::sql) struct Statement {
    pub(super) text: String,
    pub(super) parameters: Vec<sqlite::Value>,
    /// `None` if the rows are not needed.
    pub(super) answer: Option<AnswerLimits>,
}

impl Statement {
    pub(super) fn new(text: String, parameters: Vec<Value>, answer: Option<AnswerLimits>) -> Self {
        Self {
            text,
            parameters: parameters.into_iter().map(into_sqlite).collect(),
            answer,
        }
    }

    pub(super) fn run(&self, connection: &mut Connection, kind: Kind, watch: Watch) -> Outcome {
        connection.run(kind, &self.text, &self.parameters, self.answer, watch)
    }
}

impl Work {
    /// Runs in the open transaction.
    pub(super) fn run(&self, connection: &mut Connection, watch: Watch) -> Outcome {
        match self {
            Self::Statement(statement) => statement.run(connection, Kind::Writer, watch),
            Self::Script(script) => connection
                .run_script(script, watch)
                .map(|()| Rows::default()),
        }
    }

    /// Runs in a transaction of its own.
    pub(super) fn run_alone(&self, connection: &mut Connection, watch: Watch) -> Outcome {
        match self {
            // SQLite begins one implicitly.
            Self::Statement(_) => self.run(connection, watch),
            Self::Script(_) => {
                connection.host(HostStatement::Begin)?;
                let done = self.run(connection, watch);
                let done =
                    done.and_then(|rows| connection.host(HostStatement::Commit).map(|()| rows));
                end_transaction(connection);
                done
            }
        }
    }
}

/// Rolls back a transaction that is still open.
pub(super) fn end_transaction(connection: &mut Connection) {
    if !connection.is_autocommit() && connection.host(HostStatement::Rollback).is_err() {
        tracing::error!("cannot roll back a SQLite transaction");
    }
}
