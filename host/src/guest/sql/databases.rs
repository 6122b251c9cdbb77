//! The open databases of the host. A SQLite file has separate connections for each workload
//! that opens it; a database of a server has a pool for each workload and URL.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use galleria_mesh as mesh;
use parking_lot::Mutex;

use super::Error;
use super::access::File;
use super::database::Database;
use super::sqlite::{Caller, Stopping};
use super::{postgres, sqlite};
use crate::guest::{Server, ServerTarget};
use crate::telemetry::metrics::{Samples, Statements};
use crate::telemetry::names;

/// Databases that one workload, or for files one of its pods, may be connected to at the same
/// time. Few use two.
const PER_WORKLOAD_MAX: usize = 16;

/// SQLite files with open connections, of all pods together: each uses up to eight descriptors.
/// Above the limit, the least recently used files are closed; they are opened again when
/// needed.
const FILES_OPEN_MAX: usize = 64;

/// The connections of a file are closed after this time without use.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// How often unused files are closed.
const LOOK_AFTER: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Databases {
    sqlite: Mutex<HashMap<FileKey, Arc<sqlite::File>>>,
    postgresql: Mutex<HashMap<Key, postgres::Database>>,
    pub(super) statements: Statements,
    /// Set when the host stops: statements of SQLite must then end soon.
    stopping: Stopping,
    looked_after: OnceLock<()>,
}

/// A file of one workload. Another workload that mounts the same volume has its own
/// connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FileKey {
    path: PathBuf,
    read_only: bool,
    namespace: String,
    workload: String,
}

/// Identifies a pool. A changed ServiceEntry or password results in a new pool.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    client: String,
    url: String,
    targets: Vec<ServerTarget>,
}

impl Databases {
    /// Opens the file.
    pub(super) async fn sqlite(
        self: &Arc<Self>,
        file: File,
        workload: &Arc<mesh::Workload>,
        caller: &Caller,
    ) -> Result<Arc<sqlite::File>, Error> {
        self.look_after();
        let (key, file) = self.file(file, workload, caller)?;
        if let Err(error) = file.check().await {
            let mut files = self.sqlite.lock();
            if files.get(&key).is_some_and(|it| Arc::ptr_eq(it, &file)) {
                files.remove(&key);
            }
            return Err(error);
        }
        Ok(file)
    }

    fn file(
        &self,
        place: File,
        workload: &Arc<mesh::Workload>,
        caller: &Caller,
    ) -> Result<(FileKey, Arc<sqlite::File>), Error> {
        let key = FileKey {
            path: place.path.clone(),
            read_only: place.read_only,
            namespace: workload.namespace.clone(),
            workload: workload.name.clone(),
        };
        let mut files = self.sqlite.lock();
        if let Some(file) = files.get(&key) {
            return Ok((key, file.clone()));
        }
        let own = |file: &&Arc<sqlite::File>| file.tenant.is_of(caller);
        if files.values().filter(own).count() >= PER_WORKLOAD_MAX {
            // Close those that no instance has had open for a while.
            files.retain(|_, file| {
                !own(&&*file) || Arc::strong_count(file) > 1 || file.unused_for() < UNUSED_MAX
            });
        }
        if files.values().filter(own).count() >= PER_WORKLOAD_MAX {
            return Err(Error::Unavailable(format!(
                "the pod already has {PER_WORKLOAD_MAX} database files open, and each stays open \
                 for {} s after its last use; put the tables into one file",
                UNUSED_MAX.as_secs()
            )));
        }
        let tenant = files.values().find(own).map(|file| file.tenant.clone());
        let tenant = tenant.unwrap_or_else(|| sqlite::Tenant::new(caller));
        let mut of_others = files.iter().filter(|(other, _)| other.path == key.path);
        let among_workloads = of_others.next().map(|(_, file)| file.among_workloads());
        let file = sqlite::File::new(
            place,
            workload.clone(),
            tenant,
            among_workloads.unwrap_or_default(),
            self.stopping.clone(),
        );
        files.insert(key.clone(), file.clone());
        Ok((key, file))
    }

    /// Starts closing unused files, when the first file is opened.
    fn look_after(self: &Arc<Self>) {
        self.looked_after.get_or_init(|| {
            let databases = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK_AFTER).await;
                    let Some(databases) = databases.upgrade() else {
                        return;
                    };
                    // Nothing waits for the result.
                    let closing = move || databases.close_unused();
                    let _ = tokio::task::spawn_blocking(closing).await;
                }
            });
        });
    }

    fn close_unused(&self) {
        let mut files: Vec<_> = self.sqlite.lock().values().cloned().collect();
        files.retain(|file| file.connections() != [0, 0]);
        files.sort_by_key(|file| file.unused_for());
        for (index, file) in files.iter().enumerate() {
            if index >= FILES_OPEN_MAX || file.unused_for() >= UNUSED_MAX {
                file.close_idle();
            }
        }
    }

    /// Reports connections and statements as metrics.
    pub(crate) fn sample(&self, samples: &mut Samples) {
        self.statements.sample(samples);
        // The replicas of a workload have separate files under the same name.
        let mut connections = BTreeMap::<_, [usize; 2]>::new();
        let mut add = |namespace: &str, workload: &str, database: String, more: [usize; 2]| {
            let key = (namespace.to_owned(), workload.to_owned(), database);
            let sum = connections.entry(key).or_default();
            *sum = [sum[0] + more[0], sum[1] + more[1]];
        };
        for file in self.sqlite.lock().values() {
            let (namespace, name) = (&file.workload.namespace, &file.workload.name);
            let more = file.connections();
            add(namespace, name, file.mounted_at().to_owned(), more);
        }
        for (key, database) in self.postgresql.lock().iter() {
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

    /// Opens the database of `url`, which `server` was parsed from, at the endpoints in
    /// `found`.
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
        let mut open = self.postgresql.lock();
        if let Some(database) = open.get(&key) {
            return Ok(database.clone());
        }
        open.retain(|_, database| database.is_in_use());
        let same = open.keys().filter(|other| other.client == key.client);
        if same.count() >= PER_WORKLOAD_MAX {
            return Err(Error::Unavailable(format!(
                "the workload already has connections to {PER_WORKLOAD_MAX} databases"
            )));
        }
        let database = postgres::Database::new(server.at(key.targets.clone()))?;
        Ok(open.entry(key).or_insert(database).clone())
    }

    /// Closes the databases in a folder that is about to be removed.
    pub(crate) async fn close_below(&self, folder: &Path) {
        let real = tokio::fs::canonicalize(folder).await;
        let folder = real.unwrap_or_else(|_| folder.to_path_buf());
        let closed: Vec<_> = {
            let mut files = self.sqlite.lock();
            let below = files.extract_if(|key, _| key.path.starts_with(&folder));
            below.map(|(_, file)| file).collect()
        };
        for file in closed {
            file.close().await;
        }
    }

    /// Called when the host begins to stop: long statements of SQLite must end soon.
    pub(crate) fn hurry(&self) {
        self.stopping.get_or_init(Instant::now);
    }

    /// Waits for the statements in progress and closes all databases.
    pub(crate) async fn close(&self) {
        self.hurry();
        for (_, database) in self.postgresql.lock().drain() {
            database.close();
        }
        let files: Vec<_> = self.sqlite.lock().drain().collect();
        for (_, file) in files {
            file.close().await;
        }
    }
}
