//! Databases with rusqlite, only SQLite, which is enough for the comparison. Connections
//! are pooled, and statements run on threads that may block, as is usual for SQLite with
//! tokio.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::DatabaseError;

/// Connections to one file.
const CONNECTIONS_MAX: usize = 8;

/// How long a statement waits for the lock of another connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

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

/// The result of a query: every row has one value per column.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// An open database: a pool of connections.
#[derive(Debug)]
pub struct Database(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    path: String,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// A connection that returns to its pool, unless a transaction is still open.
#[derive(Debug)]
struct PooledConnection {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Database {
    /// Opens `url`, for example `sqlite:/data/products.db`, and creates the file if it is
    /// missing.
    ///
    /// # Errors
    /// The URL is not one of SQLite, or the file cannot be opened.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        let url = url.trim().trim_start_matches("jdbc:");
        let Some(path) = url.strip_prefix("sqlite:") else {
            // The URL may contain a password, and this message is logged.
            return Err(DatabaseError::InvalidUrl(
                "it does not begin with sqlite:".to_owned(),
            ));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let pool = Arc::new(Pool {
            path: path.to_owned(),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        });
        pool.on_thread(|_| Ok(())).await?;
        Ok(Self(pool))
    }

    /// Runs one statement and returns its rows. Parameters are `$1`, `$2`, …
    ///
    /// # Errors
    /// The statement is refused, or the database does not respond.
    pub async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<Rows, DatabaseError> {
        let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
        let work = move |connection: &mut Connection| query(connection, &statement, &parameters);
        self.0.on_thread(work).await
    }

    /// Runs one statement and returns the number of rows it changed.
    ///
    /// # Errors
    /// See [`Self::query`].
    pub async fn execute(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, DatabaseError> {
        let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
        let work = move |connection: &mut Connection| execute(connection, &statement, &parameters);
        self.0.on_thread(work).await
    }

    /// Runs several statements without parameters in one transaction.
    ///
    /// # Errors
    /// See [`Self::query`].
    pub async fn execute_script(&self, script: &str) -> Result<(), DatabaseError> {
        let script = script.to_owned();
        let work = move |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(&script)?;
            Ok(transaction.commit()?)
        };
        self.0.on_thread(work).await
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The database does not respond.
    pub async fn transaction(&self) -> Result<Transaction, DatabaseError> {
        let pooled = self.0.pooled().await?;
        let begin = |connection: &mut Connection| Ok(connection.execute_batch("BEGIN")?);
        let (pooled, ()) = pooled.run(begin).await?;
        Ok(Transaction(Some(pooled)))
    }
}

/// An open transaction. It is rolled back if it is dropped without [`Self::commit`].
#[derive(Debug)]
pub struct Transaction(Option<PooledConnection>);

impl Transaction {
    /// See [`Database::query`].
    ///
    /// # Errors
    /// See [`Database::query`].
    pub async fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<Rows, DatabaseError> {
        let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
        self.run(move |connection| Ok(query(connection, &statement, &parameters)))
            .await?
    }

    /// See [`Database::execute`].
    ///
    /// # Errors
    /// See [`Database::query`].
    pub async fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, DatabaseError> {
        let (statement, parameters) = (statement.to_owned(), parameters.to_vec());
        self.run(move |connection| Ok(execute(connection, &statement, &parameters)))
            .await?
    }

    /// Commits the changes, which are then durable.
    ///
    /// # Errors
    /// See [`Database::query`]; nothing has changed in that case.
    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        self.run(|connection| Ok(connection.execute_batch("COMMIT")?))
            .await
    }

    /// A transaction without a connection has already ended.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let gone = || DatabaseError::Unavailable("the transaction has ended".to_owned());
        let pooled = self.0.take().ok_or_else(gone)?;
        let (pooled, done) = pooled.run(work).await?;
        self.0 = Some(pooled);
        Ok(done)
    }
}

impl Pool {
    async fn pooled(self: &Arc<Self>) -> Result<PooledConnection, DatabaseError> {
        let permit = self.permits.clone().acquire_owned().await;
        let closed = |_| DatabaseError::Unavailable("the pool is closed".to_owned());
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Ok(PooledConnection {
            connection: idle,
            pool: self.clone(),
            _permit: permit.map_err(closed)?,
        })
    }

    async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let pooled = self.pooled().await?;
        Ok(pooled.run(work).await?.1)
    }

    fn connect(&self) -> Result<Connection, DatabaseError> {
        let connection = Connection::open(Path::new(&self.path))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("pragma journal_mode = wal; pragma foreign_keys = on")?;
        Ok(connection)
    }
}

impl PooledConnection {
    async fn run<T: Send + 'static>(
        mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<(Self, T), DatabaseError> {
        let done = tokio::task::spawn_blocking(move || {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                missing => missing.insert(self.pool.connect()?),
            };
            let done = work(connection)?;
            Ok((self, done))
        });
        let ended = |error: tokio::task::JoinError| DatabaseError::Unavailable(error.to_string());
        done.await.map_err(ended)?
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        // A connection with an open transaction is closed, which rolls it back.
        let connection = self.connection.take().filter(Connection::is_autocommit);
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.extend(connection);
    }
}

fn query(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, DatabaseError> {
    let mut statement = connection.prepare_cached(statement)?;
    bind(&mut statement, parameters)?;
    let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..columns.len()).map(|index| Ok(read(row.get_ref(index)?)));
        rows.push(values.collect::<Result<_, DatabaseError>>()?);
    }
    Ok(Rows { columns, rows })
}

fn execute(
    connection: &Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<u64, DatabaseError> {
    let mut statement = connection.prepare_cached(statement)?;
    bind(&mut statement, parameters)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(connection.changes())
}

/// `$2` is the second parameter wherever it occurs.
fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> Result<(), DatabaseError> {
    for (index, value) in parameters.iter().enumerate() {
        if let Some(place) = statement.parameter_index(&format!("${}", index + 1))? {
            let value = match value.clone() {
                Value::Null => SqlValue::Null,
                Value::Boolean(value) => SqlValue::Integer(value.into()),
                Value::Integer(value) => SqlValue::Integer(value),
                Value::Real(value) => SqlValue::Real(value),
                Value::Text(value) => SqlValue::Text(value),
                Value::Blob(value) => SqlValue::Blob(value),
            };
            statement.raw_bind_parameter(place, value)?;
        }
    }
    Ok(())
}

fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::ConstraintViolated(reason),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(reason),
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => Self::Unavailable(reason),
            _ => Self::InvalidStatement(reason),
        }
    }
}
