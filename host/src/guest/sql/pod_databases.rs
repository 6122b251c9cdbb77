//! The databases of one pod: which of them its instances may open, and the files that they
//! have opened, so that opening a file again costs little.

use std::sync::{Arc, Weak};

use galleria_mesh as mesh;
use parking_lot::Mutex;

use super::access::{self, Grant};
use super::database::Database;
use super::sqlite::{self, Caller};
use super::{Connection, Databases, Error};
use crate::guest::{Mount, Outbound};

/// Remembered files. Few pods use two.
const FILES_MAX: usize = 8;

/// See the module's documentation.
pub(crate) struct PodDatabases {
    databases: Arc<Databases>,
    workload: Arc<mesh::Workload>,
    outbound: Arc<dyn Outbound>,
    mounts: Vec<Mount>,
    opened: Mutex<Vec<OpenedFile>>,
}

/// A file that was opened by this URL. Access to it cannot change, because a pod keeps its
/// mounts.
struct OpenedFile {
    url: String,
    file: Weak<sqlite::File>,
}

impl PodDatabases {
    pub(crate) fn new(
        databases: Arc<Databases>,
        workload: Arc<mesh::Workload>,
        outbound: Arc<dyn Outbound>,
        mounts: Vec<Mount>,
    ) -> Arc<Self> {
        Arc::new(Self {
            databases,
            workload,
            outbound,
            mounts,
            opened: Mutex::default(),
        })
    }

    pub(super) async fn open(&self, url: &str, caller: &Arc<Caller>) -> Result<Connection, Error> {
        let url = url.trim();
        if let Some(file) = self.opened_before(url) {
            return Ok(self.connect_to_file(&file, caller));
        }
        match access::grant(url, &self.mounts)? {
            Grant::Sqlite(place) => {
                let file = self.databases.sqlite(place, &self.workload, caller).await?;
                self.remember(url, &file);
                Ok(self.connect_to_file(&file, caller))
            }
            Grant::Postgresql(server) => {
                let address = server.address();
                let found = self.outbound.server(&address.host, address.port);
                let found = found.map_err(Error::AccessDenied)?;
                let label = server.label();
                let database = self.databases.postgresql(url, *server, found).await?;
                Ok(self.connect(database, &label))
            }
        }
    }

    fn connect_to_file(&self, file: &Arc<sqlite::File>, caller: &Arc<Caller>) -> Connection {
        let database = sqlite::Database::new(file.clone(), caller.clone());
        self.connect(Database::Sqlite(database), file.mounted_at())
    }

    fn connect(&self, database: Database, label: &str) -> Connection {
        let meters = self.databases.statements.of(&self.workload, label);
        Connection { database, meters }
    }

    /// The file of `url`, if it is still open.
    fn opened_before(&self, url: &str) -> Option<Arc<sqlite::File>> {
        let opened = self.opened.lock();
        let found = opened.iter().find(|it| it.url == url)?;
        found.file.upgrade().filter(|file| file.is_open())
    }

    fn remember(&self, url: &str, file: &Arc<sqlite::File>) {
        let mut opened = self.opened.lock();
        opened.retain(|it| it.url != url);
        if opened.len() >= FILES_MAX {
            opened.remove(0);
        }
        opened.push(OpenedFile {
            url: url.to_owned(),
            file: Arc::downgrade(file),
        });
    }
}
