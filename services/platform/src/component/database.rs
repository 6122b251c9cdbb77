//! Databases over `galleria:sql`. The host pools the connections; an instance holds only
//! a handle.

use super::bindings::galleria::sql::client;
use crate::DatabaseError;

pub use client::{RowSet as Rows, Value};

/// An open database.
#[derive(Debug)]
pub struct Database(client::Connection);

// The host completes each of these calls before it returns, so nothing is awaited. The
// functions are async because those of the native driver are.
impl Database {
    /// Opens `url`, for example `sqlite:/data/products.db`.
    ///
    /// # Errors
    /// The manifest does not allow the workload to use this database, or it cannot be
    /// reached.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        Ok(Self(client::Connection::open(url)?))
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
        Ok(self.0.query(statement, parameters)?)
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
        Ok(self.0.execute(statement, parameters)?)
    }

    /// Runs several statements without parameters in one transaction.
    ///
    /// # Errors
    /// See [`Self::query`].
    pub async fn execute_script(&self, script: &str) -> Result<(), DatabaseError> {
        Ok(self.0.execute_script(script)?)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The database does not respond.
    pub async fn transaction(&self) -> Result<Transaction, DatabaseError> {
        Ok(Transaction(self.0.begin()?))
    }
}

/// An open transaction. It is rolled back if it is dropped without [`Self::commit`].
#[derive(Debug)]
pub struct Transaction(client::Transaction);

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
        Ok(self.0.query(statement, parameters)?)
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
        Ok(self.0.execute(statement, parameters)?)
    }

    /// Commits the changes, which are then durable.
    ///
    /// # Errors
    /// See [`Database::query`]; nothing has changed in that case.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        Ok(client::Transaction::commit(self.0)?)
    }
}

impl From<client::Error> for DatabaseError {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::AccessDenied(reason) => Self::AccessDenied(reason),
            client::Error::InvalidUrl(reason) => Self::InvalidUrl(reason),
            client::Error::Unavailable(reason) => Self::Unavailable(reason),
            client::Error::InvalidStatement(reason) => Self::InvalidStatement(reason),
            client::Error::ConstraintViolated(reason) => Self::ConstraintViolated(reason),
            client::Error::Busy(reason) => Self::Busy(reason),
            client::Error::TooLarge(reason) => Self::TooLarge(reason),
        }
    }
}
