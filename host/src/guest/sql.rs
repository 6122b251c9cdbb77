//! `galleria:sql` for guests: databases opened by URL, checked against what the
//! manifest gives, pooled.
//!
//! A guest reaches a SQLite file only inside a volume that its container
//! mounts, and a server only where the mesh lets its workload through. Answers
//! are bounded in rows and bytes. Values and URLs never appear in logs.

mod access;
mod answer;
mod database;
mod databases;
mod postgres;
mod span;
mod sqlite;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

pub(crate) use databases::Databases;

use super::state::GuestState;
use super::{Door, Mount};
use crate::context::RequestContext;
use access::Grant;
use bindings::galleria::sql::client;
pub(super) use client::{Error, RowSet, Value};

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

/// What one instance may open.
pub(crate) struct SqlAccess {
    databases: Arc<Databases>,
    door: Arc<dyn Door>,
    mounts: Vec<Mount>,
}

impl SqlAccess {
    pub(super) fn new(databases: Arc<Databases>, door: Arc<dyn Door>, mounts: &[Mount]) -> Self {
        Self {
            databases,
            door,
            mounts: mounts.to_vec(),
        }
    }

    async fn open(&self, url: &str) -> Result<database::Database, Error> {
        let url = url.trim();
        match access::grant(url, &self.mounts)? {
            Grant::Sqlite(file) => self.databases.sqlite(file).await,
            Grant::Postgresql(server) => {
                let address = server.address();
                let found = self.door.server(&address.host, address.port);
                let found = found.map_err(Error::AccessDenied)?;
                self.databases.postgresql(url, *server, found).await
            }
        }
    }
}

/// The guest's `connection`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection(database::Database);

/// The guest's `transaction`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Transaction(database::Transaction);

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
        match self.access.open(&url).await {
            Ok(database) => Ok(Ok(self.table.push(Connection(database))?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<RowSet> {
        let database = &self.table.get(&connection)?.0;
        let span = span::begin(self.context, database.system(), &statement);
        let result = database.query(&statement, parameters).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let database = &self.table.get(&connection)?.0;
        let span = span::begin(self.context, database.system(), &statement);
        let result = database.execute(&statement, parameters).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute_script(
        &mut self,
        connection: Resource<Connection>,
        script: String,
    ) -> Answer<()> {
        let database = &self.table.get(&connection)?.0;
        let span = span::begin(self.context, database.system(), "SCRIPT");
        let result = database.execute_script(&script).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn begin(&mut self, connection: Resource<Connection>) -> Answer<Resource<Transaction>> {
        let begun = self.table.get(&connection)?.0.begin().await;
        match begun {
            Ok(transaction) => Ok(Ok(self.table.push(Transaction(transaction))?)),
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
        let transaction = &mut self.table.get_mut(&transaction)?.0;
        let span = span::begin(self.context, transaction.system(), &statement);
        let result = transaction.query(&statement, parameters).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn execute(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let transaction = &mut self.table.get_mut(&transaction)?.0;
        let span = span::begin(self.context, transaction.system(), &statement);
        let result = transaction.execute(&statement, parameters).await;
        span::end(span, &result);
        Ok(result)
    }

    async fn commit(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?.0;
        let span = span::begin(self.context, transaction.system(), "COMMIT");
        let result = transaction.commit().await;
        span::end(span, &result);
        Ok(result)
    }

    async fn rollback(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?.0;
        Ok(transaction.rollback().await)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}
