//! The open databases of the host. A SQLite file has one pool, whoever uses it;
//! a server's database has one for each workload and URL.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Error;
use super::access::File;
use super::database::Database;
use super::{postgres, sqlite};
use crate::guest::Server;

/// Databases that one workload may have connections to at once: few use two.
const PER_WORKLOAD_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Databases {
    sqlite: Mutex<HashMap<(PathBuf, bool), sqlite::Database>>,
    postgresql: Mutex<HashMap<Key, postgres::Database>>,
}

/// What decides about a pool. A changed ServiceEntry or password makes a new one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    client: String,
    url: String,
    targets: Vec<(String, u16)>,
}

impl Databases {
    pub(super) async fn sqlite(&self, file: File) -> Result<Database, Error> {
        let key = (file.path.clone(), file.read_only);
        let known = lock(&self.sqlite).get(&key).cloned();
        if let Some(database) = known {
            return Ok(Database::Sqlite(database));
        }
        let database = sqlite::Database::open(&file).await?;
        let mut open = lock(&self.sqlite);
        Ok(Database::Sqlite(
            open.entry(key).or_insert(database).clone(),
        ))
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
            below.map(|(_, database)| database).collect()
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
        for (_, database) in open {
            database.close().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
