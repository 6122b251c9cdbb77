//! SQLite files, through sqlx.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, Column, Executor, Row, Sqlite, TypeInfo, ValueRef};

mod confine;

use self::confine::confine;
use super::access::File;
use super::answer::Answer;
use super::{Error, RowSet, Value};

/// Connections to one file: one writer at a time is SQLite's nature, readers gain
/// little from more than a few.
const CONNECTIONS_MAX: u32 = 8;

/// How long a statement waits for another's lock before it is told `busy`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One open file.
#[derive(Clone)]
pub(super) struct Database {
    pool: SqlitePool,
}

/// One transaction on a connection of its own; rolled back when dropped.
pub(super) struct Transaction {
    inner: sqlx::Transaction<'static, Sqlite>,
}

impl Database {
    pub(super) async fn open(file: &File) -> Result<Self, Error> {
        let mut options = SqliteConnectOptions::new()
            .filename(&file.path)
            .read_only(file.read_only)
            .create_if_missing(!file.read_only)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        if !file.read_only {
            // What was acknowledged survives a crash of the process and of the machine.
            options = options
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|error| failure(&error))?;
        Ok(Self { pool })
    }

    /// Its connections: those that nobody uses, and the others.
    pub(super) fn connections(&self) -> [usize; 2] {
        let (all, idle) = (self.pool.size() as usize, self.pool.num_idle());
        [idle.min(all), all.saturating_sub(idle)]
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        query(&mut *self.connection().await?, statement, parameters).await
    }

    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        execute(&mut *self.connection().await?, statement, parameters).await
    }

    pub(super) async fn execute_script(&self, script: &str) -> Result<(), Error> {
        confine(script)?;
        let mut transaction = self.begin().await?;
        transaction
            .inner
            .execute(script)
            .await
            .map_err(|error| failure(&error))?;
        transaction.commit().await
    }

    /// Takes the write lock at once: a transaction that reads first and writes
    /// later could otherwise fail half way.
    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let inner = self
            .pool
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| failure(&error))?;
        Ok(Transaction { inner })
    }

    async fn connection(&self) -> Result<PoolConnection<Sqlite>, Error> {
        self.pool.acquire().await.map_err(|error| failure(&error))
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}

impl Transaction {
    pub(super) async fn query(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        query(&mut self.inner, statement, parameters).await
    }

    pub(super) async fn execute(
        &mut self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        execute(&mut self.inner, statement, parameters).await
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await.map_err(|error| failure(&error))
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        self.inner.rollback().await.map_err(|error| failure(&error))
    }
}

async fn query(
    connection: &mut SqliteConnection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<RowSet, Error> {
    confine(statement)?;
    let mut answer = Answer::new();
    let mut rows = sqlx::query_with(statement, bind(parameters)?).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        answer.name(row.columns().iter().map(Column::name));
        let values = (0..row.len())
            .map(|index| value(&row, index))
            .collect::<Result<Vec<_>, _>>()?;
        answer.push(values)?;
    }
    Ok(answer.finish())
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<u64, Error> {
    confine(statement)?;
    sqlx::query_with(statement, bind(parameters)?)
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| failure(&error))
}

fn bind(parameters: Vec<Value>) -> Result<SqliteArguments<'static>, Error> {
    let mut arguments = SqliteArguments::default();
    for parameter in parameters {
        let bound = match parameter {
            Value::Null => arguments.add(None::<i64>),
            Value::Boolean(value) => arguments.add(value),
            Value::Integer(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Blob(value) => arguments.add(value),
        };
        bound.map_err(|error| Error::InvalidStatement(error.to_string()))?;
    }
    Ok(arguments)
}

/// SQLite types values, not columns: what the value is decides.
fn value(row: &SqliteRow, index: usize) -> Result<Value, Error> {
    let raw = row.try_get_raw(index).map_err(|error| failure(&error))?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    let read = match kind.as_str() {
        "BOOLEAN" => row.try_get_unchecked(index).map(Value::Boolean),
        "INTEGER" | "INT4" | "INT8" => row.try_get_unchecked(index).map(Value::Integer),
        "REAL" => row.try_get_unchecked(index).map(Value::Real),
        "BLOB" => row.try_get_unchecked(index).map(Value::Blob),
        _ => row.try_get_unchecked(index).map(Value::Text),
    };
    read.map_err(|error| failure(&error))
}

/// Sorts sqlx's errors into what a guest can act on. SQLite's texts name tables
/// and columns, never values.
fn failure(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(database) => {
            let message = database.message().to_owned();
            // SQLite's extended result codes: the low byte is the primary one.
            let code = database
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .unwrap_or(0)
                & 0xff;
            match code {
                5 | 6 => Error::Busy(message),
                19 => Error::ConstraintViolated(message),
                10 | 11 | 13 | 14 | 26 => Error::Unavailable(message),
                8 => Error::AccessDenied(message),
                _ => Error::InvalidStatement(message),
            }
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => {
            Error::Unavailable(error.to_string())
        }
        _ => Error::InvalidStatement(error.to_string()),
    }
}
