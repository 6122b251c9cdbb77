//! Databases, by sqlx: SQLite only, which is what the comparison needs.

use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow,
};
use sqlx::{Column, Executor, Row, TypeInfo, ValueRef};

use crate::DatabaseError;

/// One SQL value. Money belongs in `Integer` (minor units), never in `Real`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// The answer to a query: every row has one value per column.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// A database that was opened: a pool of connections.
#[derive(Debug)]
pub struct Database(SqlitePool);

impl Database {
    /// Opens `url`, for example `sqlite:/data/products.db`, making the file
    /// when it is missing.
    ///
    /// # Errors
    /// When the URL is not one of SQLite, or the file cannot be opened.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        let url = url.trim().trim_start_matches("jdbc:");
        if !url.starts_with("sqlite:") {
            // The URL itself may hold a password, and this ends up in a log.
            return Err(DatabaseError::InvalidUrl(
                "it does not begin with sqlite:".to_owned(),
            ));
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| DatabaseError::InvalidUrl(error.to_string()))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await?;
        Ok(Self(pool))
    }

    /// Runs one statement and returns its rows. Parameters are `$1`, `$2`, …
    ///
    /// # Errors
    /// When the statement is refused or the database cannot answer.
    pub async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<Rows, DatabaseError> {
        query_on(&self.0, statement, parameters).await
    }

    /// Runs one statement and returns the number of rows it changed.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, DatabaseError> {
        Ok(bind(statement, parameters)
            .execute(&self.0)
            .await?
            .rows_affected())
    }

    /// Runs several statements without parameters in one transaction.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute_script(&self, script: &str) -> Result<(), DatabaseError> {
        let mut transaction = self.0.begin().await?;
        transaction.execute(sqlx::raw_sql(script)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database cannot answer.
    pub async fn transaction(&self) -> Result<Transaction, DatabaseError> {
        Ok(Transaction(self.0.begin().await?))
    }
}

/// An open transaction. Dropped without [`Self::commit`], it is rolled back.
#[derive(Debug)]
pub struct Transaction(sqlx::Transaction<'static, Sqlite>);

impl Transaction {
    /// As [`Database::query`].
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<Rows, DatabaseError> {
        query_on(&mut *self.0, statement, parameters).await
    }

    /// As [`Database::execute`].
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, DatabaseError> {
        Ok(bind(statement, parameters)
            .execute(&mut *self.0)
            .await?
            .rows_affected())
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// As [`Database::query`]; nothing was changed then.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        Ok(self.0.commit().await?)
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments<'q>>;

fn bind<'q>(statement: &'q str, parameters: &'q [Value]) -> Query<'q> {
    parameters
        .iter()
        .fold(sqlx::query(statement), |query, value| match value {
            Value::Null => query.bind(None::<i64>),
            Value::Boolean(value) => query.bind(*value),
            Value::Integer(value) => query.bind(*value),
            Value::Real(value) => query.bind(*value),
            Value::Text(value) => query.bind(value.as_str()),
            Value::Blob(value) => query.bind(value.as_slice()),
        })
}

async fn query_on<'c>(
    executor: impl Executor<'c, Database = Sqlite>,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, DatabaseError> {
    let found = bind(statement, parameters).fetch_all(executor).await?;
    let columns = match found.first() {
        Some(row) => row
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect(),
        None => Vec::new(),
    };
    let rows = found.iter().map(read_row).collect::<Result<_, _>>()?;
    Ok(Rows { columns, rows })
}

fn read_row(row: &SqliteRow) -> Result<Vec<Value>, DatabaseError> {
    (0..row.len()).map(|index| read_value(row, index)).collect()
}

fn read_value(row: &SqliteRow, index: usize) -> Result<Value, DatabaseError> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        "INTEGER" => Value::Integer(row.try_get(index)?),
        "BOOLEAN" => Value::Boolean(row.try_get(index)?),
        "REAL" => Value::Real(row.try_get(index)?),
        "BLOB" => Value::Blob(row.try_get(index)?),
        _ => Value::Text(row.try_get(index)?),
    })
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let reason = error.to_string();
        match &error {
            sqlx::Error::Database(inner) => {
                use sqlx::error::ErrorKind;
                match inner.kind() {
                    ErrorKind::Other => {}
                    _ => return Self::ConstraintViolated(reason),
                }
                // SQLite's primary result codes, in the low byte: BUSY, LOCKED,
                // CANTOPEN, IOERR.
                match inner
                    .code()
                    .and_then(|code| code.parse::<u32>().ok())
                    .map(|code| code & 0xff)
                {
                    Some(5 | 6) => Self::Busy(reason),
                    Some(14 | 10) => Self::Unavailable(reason),
                    _ => Self::InvalidStatement(reason),
                }
            }
            sqlx::Error::Configuration(_) => Self::InvalidUrl(reason),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(reason),
            _ => Self::InvalidStatement(reason),
        }
    }
}
