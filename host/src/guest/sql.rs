//! `galleria:sql` for guests: databases that are opened by URL, checked against the manifest,
//! and pooled.
//!
//! A guest can only open a SQLite file inside a volume that its container mounts, and only
//! reach a server that the mesh allows its workload to reach. Results are limited in rows and
//! bytes. Values and URLs never appear in logs.

mod access;
mod answer;
mod database;
mod databases;
mod pod_databases;
mod postgres;
mod span;
mod sqlite;

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

pub(crate) use databases::Databases;
pub(crate) use pod_databases::PodDatabases;

use super::state::GuestState;
use super::{Deadline, GuestSetup};
use crate::context::RequestContext;
use crate::telemetry::metrics::StatementMeters;
use bindings::galleria::sql::client;
pub(super) use client::{Error, RowSet, Value};
use sqlite::Caller;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "package galleria:host; world sql { import galleria:sql/client@0.1.0; }",
        world: "galleria:host/sql",
        imports: { default: async | trappable },
        with: {
            "galleria:sql/client.connection": super::Connection,
            "galleria:sql/client.transaction": super::Transaction,
        },
    });
}

/// The databases that one instance may open.
pub(crate) struct SqlAccess {
    databases: Arc<PodDatabases>,
    caller: Arc<Caller>,
}

impl SqlAccess {
    /// `deadline` is the deadline of the request that the instance serves.
    pub(super) fn new(setup: &GuestSetup, deadline: Deadline) -> Self {
        Self {
            databases: setup.sql.clone(),
            caller: Caller::new(setup, deadline),
        }
    }
}

/// The guest's `connection`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection {
    database: database::Database,
    meters: Arc<StatementMeters>,
}

/// The guest's `transaction`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Transaction {
    transaction: database::Transaction,
    meters: Arc<StatementMeters>,
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, HasSql>(linker, |state| View {
        access: &state.sql,
        table: &mut state.table,
        context: state.hooks.serving(),
    })
}

struct HasSql;

impl HasData for HasSql {
    type Data<'a> = View<'a>;
}

pub(super) struct View<'a> {
    access: &'a SqlAccess,
    table: &'a mut ResourceTable,
    /// The request that the guest serves.
    context: Option<&'a RequestContext>,
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl client::Host for View<'_> {}

impl client::HostConnection for View<'_> {
    async fn open(&mut self, url: String) -> Answer<Resource<Connection>> {
        let SqlAccess { databases, caller } = self.access;
        match databases.open(&url, caller).await {
            Ok(connection) => Ok(Ok(self.table.push(connection)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<RowSet> {
        let Connection { database, meters } = self.table.get(&connection)?;
        let span = span::begin(self.context, database.system(), &statement);
        let result = timed(meters, database.query(statement, parameters)).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let Connection { database, meters } = self.table.get(&connection)?;
        let span = span::begin(self.context, database.system(), &statement);
        let result = timed(meters, database.execute(statement, parameters)).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute_script(
        &mut self,
        connection: Resource<Connection>,
        script: String,
    ) -> Answer<()> {
        let Connection { database, meters } = self.table.get(&connection)?;
        let span = span::begin(self.context, database.system(), "SCRIPT");
        let result = timed(meters, database.execute_script(script)).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn begin(&mut self, connection: Resource<Connection>) -> Answer<Resource<Transaction>> {
        let Connection { database, meters } = self.table.get(&connection)?;
        let begun = timed(meters, database.begin()).await;
        let meters = meters.clone();
        match begun {
            Ok(transaction) => {
                let transaction = Transaction {
                    transaction,
                    meters,
                };
                Ok(Ok(self.table.push(transaction)?))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl client::HostTransaction for View<'_> {
    async fn query(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<RowSet> {
        let Transaction {
            transaction,
            meters,
        } = self.table.get_mut(&transaction)?;
        let span = span::begin(self.context, transaction.system(), &statement);
        let result = timed(meters, transaction.query(statement, parameters)).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let Transaction {
            transaction,
            meters,
        } = self.table.get_mut(&transaction)?;
        let span = span::begin(self.context, transaction.system(), &statement);
        let result = timed(meters, transaction.execute(statement, parameters)).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn commit(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let Transaction {
            transaction,
            meters,
        } = self.table.delete(transaction)?;
        let span = span::begin(self.context, transaction.system(), "COMMIT");
        let result = timed(&meters, transaction.commit()).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn rollback(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let Transaction {
            transaction,
            meters,
        } = self.table.delete(transaction)?;
        Ok(timed(&meters, transaction.rollback()).await)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

/// Records the duration of a statement. A statement that its guest abandons is not recorded.
async fn timed<T>(
    meters: &StatementMeters,
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let since = Instant::now();
    let result = statement.await;
    meters.took(since.elapsed(), result.is_ok());
    result
}
