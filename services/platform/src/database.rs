//! The database as a service sees it: statements with parameters, typed rows,
//! transactions. The drivers and pools belong to the platform.

use std::time::Duration;

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
    /// Whether the same work may succeed when it is tried again later.
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

/// Takes the values of one row from left to right, each as the type that the
/// statement promises.
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

    /// The next value, an integer.
    ///
    /// # Errors
    /// When the column is missing or holds something else.
    pub fn integer(&mut self) -> Result<i64, DatabaseError> {
        match self.next() {
            Some(Value::Integer(value)) => Ok(value),
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// The next value, a text.
    ///
    /// # Errors
    /// When the column is missing or holds something else.
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

/// A step of a schema's history. Steps are only ever added.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Statements without parameters, each run once. `{identity}` stands for the
    /// type of a key that the database numbers, which has no common spelling.
    pub statements: &'static [&'static str],
}

/// How often a migration is tried while other instances hold the database.
const MIGRATION_ATTEMPTS_MAX: u32 = 20;

/// Opens the database and brings its schema up to date.
///
/// Any number of instances of any number of hosts may do this at once: the steps
/// and the version they lead to are written in one transaction, and whoever finds
/// the database locked, or the version taken, starts over.
///
/// # Errors
/// When the database cannot be opened or stays locked, or a step is refused.
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
    // A transaction may take the write lock at once, and most instances find
    // nothing to do: they only look.
    match database.query(VERSION, &[]).await {
        Ok(rows) => {
            if version(rows)? >= migrations.len() {
                return Ok(database);
            }
        }
        // There is no such table in a new database.
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
        // First, so that others wait here until this transaction ends.
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

/// SQLite numbers this one type of key alone.
fn identity(url: &str) -> &'static str {
    let url = url.trim();
    match url
        .strip_prefix("jdbc:")
        .unwrap_or(url)
        .starts_with("sqlite:")
    {
        true => "INTEGER PRIMARY KEY AUTOINCREMENT",
        false => "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    }
}

const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_version";

/// How many steps were done, as the rows of [`VERSION`] say.
fn version(rows: Rows) -> Result<usize, DatabaseError> {
    let row = rows.rows.into_iter().next().unwrap_or_default();
    Ok(usize::try_from(RowReader::new(row).integer()?).unwrap_or(0))
}

#[cfg(test)]
mod tests;
