//! The open databases of the host. A SQLite file has one pool, whoever uses it;
//! a server's database has one for each workload and URL.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use galleria_mesh as mesh;

use super::Error;
use super::access::File;
use super::database::Database;
use super::{postgres, sqlite};
use crate::guest::Server;
use crate::telemetry::metrics::{Samples, Statements};
use crate::telemetry::names;

/// Databases that one workload may have connections to at once: few use two.
const PER_WORKLOAD_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Databases {
    sqlite: Mutex<HashMap<(PathBuf, bool), OpenFile>>,
    postgresql: Mutex<HashMap<Key, postgres::Database>>,
    pub(super) statements: Statements,
}

/// A file, and who opened it first.
struct OpenFile {
    database: sqlite::Database,
    workload: Arc<mesh::Workload>,
    mounted_at: String,
}

/// What decides about a pool. A changed ServiceEntry or password makes a new one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    client: String,
    url: String,
    targets: Vec<(String, u16)>,
}

impl Databases {
    pub(super) async fn sqlite(
        &self,
        file: File,
        workload: &Arc<mesh::Workload>,
    ) -> Result<Database, Error> {
        let key = (file.path.clone(), file.read_only);
        if let Some(open) = lock(&self.sqlite).get(&key) {
            return Ok(Database::Sqlite(open.database.clone()));
        }
        let opened = OpenFile {
            database: sqlite::Database::open(&file).await?,
            workload: workload.clone(),
            mounted_at: file.mounted_at,
        };
        let mut open = lock(&self.sqlite);
        let database = open.entry(key).or_insert(opened).database.clone();
        Ok(Database::Sqlite(database))
    }

    /// Connections and statements, for metrics.
    pub(crate) fn sample(&self, samples: &mut Samples) {
        self.statements.sample(samples);
        // The replicas of a workload have files of their own under the same name.
        let mut connections = BTreeMap::<_, [usize; 2]>::new();
        let mut add = |namespace: &str, workload: &str, database: String, more: [usize; 2]| {
            let key = (namespace.to_owned(), workload.to_owned(), database);
            let sum = connections.entry(key).or_default();
            *sum = [sum[0] + more[0], sum[1] + more[1]];
        };
        for open in lock(&self.sqlite).values() {
            let (namespace, name) = (&open.workload.namespace, &open.workload.name);
            let more = open.database.connections();
            add(namespace, name, open.mounted_at.clone(), more);
        }
        for (key, database) in lock(&self.postgresql).iter() {
            let (namespace, name) = key.client.split_once('/').unwrap_or_default();
            add(namespace, name, database.label(), database.connections());
        }
        for ((namespace, workload, database), [idle, busy]) in &connections {
            for (state, count) in [("idle", *idle), ("busy", *busy)] {
                let labels = [namespace.as_str(), workload, database, state];
                samples.count(&names::SQL_CONNECTIONS, &labels, count as u64);
            }
        }
    }

    /// The database of `url`, which `server` was read from, where `found` says.
    pub(super) async fn postgresql(
        &self,
        url: &str,
        server: postgres::Server,
        found: Server,
    ) -> Result<Database, Error> {
        let key = Key {
            client: found.client,
            url: url.to_owned(),
            targets: found.targets,
        };
        let database = self.pool(key, server)?;
        database.check().await?;
        Ok(Database::Postgresql(database))
    }

    fn pool(&self, key: Key, server: postgres::Server) -> Result<postgres::Database, Error> {
        let mut open = lock(&self.postgresql);
        if let Some(database) = open.get(&key) {
            return Ok(database.clone());
        }
        open.retain(|_, database| database.is_in_use());
        let same = open.keys().filter(|other| other.client == key.client);
        if same.count() >= PER_WORKLOAD_MAX {
            return Err(Error::Unavailable(format!(
                "the workload has connections to {PER_WORKLOAD_MAX} databases already"
            )));
        }
        let database = postgres::Database::new(server.at(key.targets.clone()))?;
        Ok(open.entry(key).or_insert(database).clone())
    }

    /// Closes the databases in a folder that is about to be removed.
    pub(crate) async fn close_below(&self, folder: &Path) {
        let closed: Vec<_> = {
            let mut open = lock(&self.sqlite);
            let below = open.extract_if(|(path, _), _| path.starts_with(folder));
            below.map(|(_, open)| open.database).collect()
        };
        for database in closed {
            database.close().await;
        }
    }

    /// Finishes what is under way and closes every database.
    pub(crate) async fn close(&self) {
        for (_, database) in lock(&self.postgresql).drain() {
            database.close();
        }
        let open: Vec<_> = lock(&self.sqlite).drain().collect();
        for (_, open) in open {
            open.database.close().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
