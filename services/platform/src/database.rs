//! The database from a service's point of view: statements with parameters, typed rows,
//! transactions. Drivers and pools are the platform's.

mod url;

use std::time::Duration;

pub use url::configured_url;

pub use crate::backend::database::{Database, Rows, Transaction, Value};

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the workload's manifest does not give it this database: {0}")]
    AccessDenied(String),
    #[error("the database URL cannot be understood: {0}")]
    InvalidUrl(String),
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    #[error("the statement was refused: {0}")]
    InvalidStatement(String),
    #[error("a constraint of the schema was violated: {0}")]
    ConstraintViolated(String),
    #[error("the database stayed locked by another transaction: {0}")]
    Busy(String),
    #[error("the answer is larger than the platform allows: {0}")]
    TooLarge(String),
    #[error("column {column} of the answer is not {expected}")]
    UnexpectedValue {
        column: usize,
        expected: &'static str,
    },
}

impl DatabaseError {
    /// Whether the same operation may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unavailable(_))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// Reads the values of one row from left to right, each with the expected type.
#[derive(Debug)]
pub struct RowReader {
    values: std::vec::IntoIter<Value>,
    column: usize,
}

impl RowReader {
    pub fn new(row: Vec<Value>) -> Self {
        Self {
            values: row.into_iter(),
            column: 0,
        }
    }

    /// The next value, as an integer.
    ///
    /// # Errors
    /// The column is missing or has another type.
    pub fn integer(&mut self) -> Result<i64, DatabaseError> {
        match self.next() {
            Some(Value::Integer(value)) => Ok(value),
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// The next value, as text.
    ///
    /// # Errors
    /// The column is missing or has another type.
    pub fn text(&mut self) -> Result<String, DatabaseError> {
        match self.next() {
            Some(Value::Text(value)) => Ok(value),
            _ => Err(self.unexpected("a text")),
        }
    }

    fn next(&mut self) -> Option<Value> {
        self.column += 1;
        self.values.next()
    }

    fn unexpected(&self, expected: &'static str) -> DatabaseError {
        DatabaseError::UnexpectedValue {
            column: self.column,
            expected,
        }
    }
}

/// A migration step of a schema. Steps are only ever added.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Statements without parameters, each run once. `{identity}` is replaced with the
    /// type of an auto-incremented key, which differs between databases.
    pub statements: &'static [&'static str],
}

/// How often a migration is attempted while other instances lock the database.
const MIGRATION_ATTEMPTS_MAX: u32 = 20;

/// Opens the database and migrates its schema.
///
/// Any number of instances on any number of hosts may do this at once: the steps and the
/// resulting version are written in one transaction, and an instance that finds the
/// database locked, or the version already written, starts over.
///
/// # Errors
/// The database cannot be opened or stays locked, or a step is refused.
pub async fn open_migrated(url: &str, migrations: &[Migration]) -> Result<Database, DatabaseError> {
    let mut attempt = 1;
    loop {
        match try_open_migrated(url, migrations).await {
            Err(DatabaseError::Busy(reason) | DatabaseError::ConstraintViolated(reason))
                if attempt < MIGRATION_ATTEMPTS_MAX =>
            {
                crate::log(format_args!(
                    "database is being changed (attempt {attempt}): {reason}"
                ));
                crate::sleep(Duration::from_millis(25) * attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn try_open_migrated(url: &str, migrations: &[Migration]) -> Result<Database, DatabaseError> {
    let database = Database::open(url).await?;
    // A transaction may take the write lock immediately, and most instances have nothing
    // to migrate, so they only read.
    match database.query(VERSION, &[]).await {
        Ok(rows) => {
            if version(rows)? >= migrations.len() {
                return Ok(database);
            }
        }
        // A new database does not have the table.
        Err(DatabaseError::InvalidStatement(_)) => {}
        Err(error) => return Err(error),
    }
    let mut transaction = database.transaction().await?;
    transaction
        .execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)",
            &[],
        )
        .await?;
    let done = version(transaction.query(VERSION, &[]).await?)?;
    for (step, migration) in migrations.iter().enumerate().skip(done) {
        // Written first, so that other instances wait here until this transaction ends.
        let version = i64::try_from(step + 1).unwrap_or(i64::MAX);
        transaction
            .execute(
                "INSERT INTO schema_version (version) VALUES ($1)",
                &[version.into()],
            )
            .await?;
        for statement in migration.statements {
            let statement = statement.replace("{identity}", identity(url));
            transaction.execute(&statement, &[]).await?;
        }
    }
    transaction.commit().await?;
    Ok(database)
}

/// SQLite auto-increments only this type of key.
fn identity(url: &str) -> &'static str {
    match is_sqlite(url) {
        true => "INTEGER PRIMARY KEY AUTOINCREMENT",
        false => "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    }
}

/// Whether the URL is that of a file.
fn is_sqlite(url: &str) -> bool {
    let url = url.trim();
    let url = url.strip_prefix("jdbc:").unwrap_or(url);
    url.starts_with("sqlite:")
}

const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_version";

/// The number of steps that are done, from the rows of [`VERSION`].
fn version(rows: Rows) -> Result<usize, DatabaseError> {
    let row = rows.rows.into_iter().next().unwrap_or_default();
    Ok(usize::try_from(RowReader::new(row).integer()?).unwrap_or(0))
}

#[cfg(test)]
mod tests;
