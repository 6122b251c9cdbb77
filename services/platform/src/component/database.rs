//! Databases, from `galleria:sql`. The host pools connections; what an instance
//! holds is a handle.

use super::bindings::galleria::sql::client;
use crate::DatabaseError;

pub use client::{RowSet as Rows, Value};

/// A database that was opened.
#[derive(Debug)]
pub struct Database(client::Connection);

// The host answers each of these before it returns, so nothing is awaited; the
// functions are async because a native driver's are.
impl Database {
    /// Opens `url`, for example `sqlite:/data/products.db`.
    ///
    /// # Errors
    /// When the manifest does not give the workload this database, or it cannot
    /// be reached.
    pub async fn open(url: &str) -> Result<Self, DatabaseError> {
        Ok(Self(client::Connection::open(url)?))
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
        Ok(self.0.query(statement, parameters)?)
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
        Ok(self.0.execute(statement, parameters)?)
    }

    /// Runs several statements without parameters in one transaction.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute_script(&self, script: &str) -> Result<(), DatabaseError> {
        Ok(self.0.execute_script(script)?)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database cannot answer.
    pub async fn transaction(&self) -> Result<Transaction, DatabaseError> {
        Ok(Transaction(self.0.begin()?))
    }
}

/// An open transaction. Dropped without [`Self::commit`], it is rolled back.
#[derive(Debug)]
pub struct Transaction(client::Transaction);

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
        Ok(self.0.query(statement, parameters)?)
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
        Ok(self.0.execute(statement, parameters)?)
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// As [`Database::query`]; nothing was changed then.
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
