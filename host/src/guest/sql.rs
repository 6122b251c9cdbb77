//! `galleria:sql` for guests: databases opened by URL, checked against what the
//! manifest gives, pooled per database.
//!
//! A guest reaches a SQLite file only inside a volume that its container
//! mounts. Answers are bounded in rows and bytes. Values never appear in logs.

mod access;
mod sqlite;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::Mount;
use super::state::GuestState;
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

/// The open databases of the host: one pool each, whoever uses it.
#[derive(Default)]
pub(crate) struct Databases {
    sqlite: Mutex<HashMap<(PathBuf, bool), sqlite::Database>>,
}

impl Databases {
    async fn open(&self, grant: Grant) -> Result<sqlite::Database, Error> {
        let key = (grant.path.clone(), grant.read_only);
        let known = self
            .sqlite
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(database) = known {
            return Ok(database);
        }
        let database = sqlite::Database::open(&grant).await?;
        let mut open = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(open.entry(key).or_insert(database).clone())
    }

    /// Closes the databases in a folder that is about to be removed.
    pub(crate) async fn close_below(&self, folder: &std::path::Path) {
        let closed: Vec<_> = {
            let mut open = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
            let below = open.extract_if(|(path, _), _| path.starts_with(folder));
            below.map(|(_, database)| database).collect()
        };
        for database in closed {
            database.close().await;
        }
    }

    /// Finishes what is under way and closes every database.
    pub(crate) async fn close(&self) {
        let open: Vec<_> = {
            let mut open = self.sqlite.lock().unwrap_or_else(PoisonError::into_inner);
            open.drain().map(|(_, database)| database).collect()
        };
        for database in open {
            database.close().await;
        }
    }
}

/// What one instance may open.
pub(crate) struct SqlAccess {
    databases: Arc<Databases>,
    mounts: Vec<Mount>,
}

impl SqlAccess {
    pub(super) fn new(databases: Arc<Databases>, mounts: &[Mount]) -> Self {
        Self {
            databases,
            mounts: mounts.to_vec(),
        }
    }
}

/// The guest's `connection`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection(sqlite::Database);

/// The guest's `transaction`.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Transaction(sqlite::Transaction);

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, HasSql>(linker, |state| View {
        access: &state.sql,
        table: &mut state.table,
    })
}

struct HasSql;

impl HasData for HasSql {
    type Data<'a> = View<'a>;
}

pub(super) struct View<'a> {
    access: &'a SqlAccess,
    table: &'a mut ResourceTable,
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl client::Host for View<'_> {}

impl client::HostConnection for View<'_> {
    async fn open(&mut self, url: String) -> Answer<Resource<Connection>> {
        let grant = match access::grant(&url, &self.access.mounts) {
            Ok(grant) => grant,
            Err(error) => return Ok(Err(error)),
        };
        match self.access.databases.open(grant).await {
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
        Ok(database.query(&statement, parameters).await)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let database = &self.table.get(&connection)?.0;
        Ok(database.execute(&statement, parameters).await)
    }

    async fn execute_script(
        &mut self,
        connection: Resource<Connection>,
        script: String,
    ) -> Answer<()> {
        let database = &self.table.get(&connection)?.0;
        Ok(database.execute_script(&script).await)
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
        Ok(transaction.query(&statement, parameters).await)
    }

    async fn execute(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<u64> {
        let transaction = &mut self.table.get_mut(&transaction)?.0;
        Ok(transaction.execute(&statement, parameters).await)
    }

    async fn commit(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?.0;
        Ok(transaction.commit().await)
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
