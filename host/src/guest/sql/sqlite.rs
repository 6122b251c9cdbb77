//! SQLite files. The crate `galleria-sqlite` keeps a statement within its limits; this module
//! decides which connection a statement gets, on which thread it runs, and when it must end.

mod caller;
mod compute_slots;
mod file;
mod placement;
mod short;
#[cfg(test)]
mod tests;
mod transaction;
mod work;
mod writer;

use std::sync::Arc;

use galleria_sqlite as sqlite;

use super::answer::{BYTES_MAX, ROWS_MAX};
use super::{Error, RowSet, Value};
pub(in crate::guest) use caller::Caller;
pub(super) use caller::Stopping;
pub(super) use file::{File, Tenant};
pub(super) use transaction::Transaction;
use work::{Statement, Work};

/// An open file, as used by the instance of one pod.
#[derive(Clone)]
pub(super) struct Database {
    file: Arc<File>,
    caller: Arc<Caller>,
}

const ANSWER: sqlite::AnswerLimits = sqlite::AnswerLimits {
    rows: ROWS_MAX,
    bytes: BYTES_MAX,
};

impl Database {
    pub(super) fn new(file: Arc<File>, caller: Arc<Caller>) -> Self {
        Self { file, caller }
    }

    pub(super) async fn query(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        let statement = Statement::new(statement, parameters, Some(ANSWER));
        self.run(statement).await.map(row_set)
    }

    pub(super) async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        let done = self
            .run(Statement::new(statement, parameters, None))
            .await?;
        Ok(done.changed)
    }

    pub(super) async fn execute_script(&self, script: String) -> Result<(), Error> {
        let work = Work::Script(script);
        self.file.write(&self.caller, work).await.map(|_| ())
    }

    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(&self.file, &self.caller).await
    }

    /// Runs on a connection for reading, in parallel with others, if the statement allows it.
    async fn run(&self, statement: Statement) -> Result<sqlite::Rows, Error> {
        if !self.file.is_read_only() && !sqlite::reads(&statement.text) {
            return self.write(statement).await;
        }
        let recalled = match self.file.read_if_short(&statement) {
            Ok(rows) => return Ok(rows),
            Err(recalled) => recalled,
        };
        let read = self.file.read(&self.caller, statement, recalled);
        match Box::pin(read).await? {
            Ok(rows) => Ok(rows),
            Err(_) if self.file.is_read_only() => Err(Error::AccessDenied(
                "the statement writes, but the volume is mounted read-only".into(),
            )),
            Err(statement) => self.write(statement).await,
        }
    }

    async fn write(&self, statement: Statement) -> Result<sqlite::Rows, Error> {
        let work = Work::Statement(statement);
        Box::pin(self.file.write(&self.caller, work)).await
    }
}

fn row_set(rows: sqlite::Rows) -> RowSet {
    let row = |values: Vec<sqlite::Value>| values.into_iter().map(from_sqlite).collect();
    RowSet {
        columns: rows.columns,
        rows: rows.rows.into_iter().map(row).collect(),
    }
}

/// In SQLite a type belongs to a value, not to a column.
fn from_sqlite(value: sqlite::Value) -> Value {
    match value {
        sqlite::Value::Null => Value::Null,
        sqlite::Value::Integer(value) => Value::Integer(value),
        sqlite::Value::Real(value) => Value::Real(value),
        sqlite::Value::Text(value) => Value::Text(value),
        sqlite::Value::Blob(value) => Value::Blob(value),
    }
}

fn into_sqlite(value: Value) -> sqlite::Value {
    match value {
        Value::Null => sqlite::Value::Null,
        Value::Boolean(value) => sqlite::Value::Integer(value.into()),
        Value::Integer(value) => sqlite::Value::Integer(value),
        Value::Real(value) => sqlite::Value::Real(value),
        Value::Text(value) => sqlite::Value::Text(value),
        Value::Blob(value) => sqlite::Value::Blob(value),
    }
}

fn failure(error: sqlite::Error) -> Error {
    match error {
        sqlite::Error::AccessDenied(message) => Error::AccessDenied(message),
        sqlite::Error::InvalidStatement(message) => Error::InvalidStatement(message),
        sqlite::Error::ConstraintViolated(message) => Error::ConstraintViolated(message),
        sqlite::Error::Busy(message) => Error::Busy(message),
        sqlite::Error::Unavailable(message) => Error::Unavailable(message),
        sqlite::Error::TooLarge(message) => Error::TooLarge(message),
        sqlite::Error::Writes => Error::AccessDenied(error.to_string()),
        sqlite::Error::Ended => Error::Unavailable(
            "the statement exceeded the time limit of its request, or the host is stopping; select \
             less, or add an index"
                .into(),
        ),
    }
}
