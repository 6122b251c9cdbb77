//! One database of either kind.
//!
//! What waits is boxed: a short read of SQLite, which is most of what guests ask for, then has
//! a small future, which is moved onto the guest's stack for each statement.

use super::{Error, RowSet, Value, postgres, sqlite};

#[derive(Clone)]
pub(super) enum Database {
    Sqlite(sqlite::Database),
    Postgresql(postgres::Database),
}

/// Rolled back when dropped.
pub(super) enum Transaction {
    Sqlite(sqlite::Transaction),
    Postgresql(postgres::Transaction),
}

impl Database {
    /// `db.system.name` of OpenTelemetry.
    pub(super) fn system(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgresql(_) => "postgresql",
        }
    }

    pub(super) async fn query(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        match self {
            Self::Sqlite(database) => database.query(statement, parameters).await,
            Self::Postgresql(database) => Box::pin(database.query(&statement, &parameters)).await,
        }
    }

    pub(super) async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        match self {
            Self::Sqlite(database) => database.execute(statement, parameters).await,
            Self::Postgresql(database) => Box::pin(database.execute(&statement, &parameters)).await,
        }
    }

    pub(super) async fn execute_script(&self, script: String) -> Result<(), Error> {
        match self {
            Self::Sqlite(database) => database.execute_script(script).await,
            Self::Postgresql(database) => Box::pin(database.execute_script(&script)).await,
        }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        Ok(match self {
            Self::Sqlite(database) => Transaction::Sqlite(Box::pin(database.begin()).await?),
            Self::Postgresql(database) => {
                Transaction::Postgresql(Box::pin(database.begin()).await?)
            }
        })
    }
}

impl Transaction {
    /// `db.system.name` of OpenTelemetry.
    pub(super) fn system(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgresql(_) => "postgresql",
        }
    }

    pub(super) async fn query(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        match self {
            Self::Sqlite(transaction) => transaction.query(statement, parameters).await,
            Self::Postgresql(transaction) => {
                Box::pin(transaction.query(&statement, &parameters)).await
            }
        }
    }

    pub(super) async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        match self {
            Self::Sqlite(transaction) => transaction.execute(statement, parameters).await,
            Self::Postgresql(transaction) => {
                Box::pin(transaction.execute(&statement, &parameters)).await
            }
        }
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Postgresql(transaction) => transaction.commit().await,
        }
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::Postgresql(transaction) => transaction.rollback().await,
        }
    }
}
