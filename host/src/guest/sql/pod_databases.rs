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
        match self.opened_before(url) {
            Some(file) => Ok(self.connect_to_file(&file, caller)),
            None => Box::pin(self.open_new(url, caller)).await,
        }
    }

    async fn open_new(&self, url: &str, caller: &Arc<Caller>) -> Result<Connection, Error> {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures::future::BoxFuture;
    use wasmtime_wasi_http::Error as HttpError;

    use super::*;
    use crate::guest::{Outgoing, Server};

    struct NoOutbound;

    impl Outbound for NoOutbound {
        fn call(&self, _: Outgoing) -> BoxFuture<'static, Result<crate::Response, HttpError>> {
            Box::pin(std::future::pending())
        }

        fn server(&self, _: &str, _: u16) -> Result<Server, String> {
            Err("there is none".into())
        }
    }

    fn pod(databases: &Arc<Databases>, folder: &Path) -> Arc<PodDatabases> {
        let opened = std::fs::File::open(folder).expect("a folder");
        let mount = Mount {
            databases: Some(folder.join("databases")),
            opened: Some(Arc::new(opened.into())),
            ..Mount::new(folder, "/data", false)
        };
        let workload = mesh::Workload::new("shop", "ui", "default", Default::default());
        let outbound = Arc::new(NoOutbound);
        PodDatabases::new(databases.clone(), Arc::new(workload), outbound, vec![mount])
    }

    #[tokio::test]
    async fn file_is_remembered_as_long_as_it_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let databases = Arc::new(Databases::default());
        let pod = pod(&databases, folder.path());
        let caller = Caller::without_limits();
        let url = "sqlite:/data/shop.db";
        let open = async |url: &str| pod.open(url, &caller).await.map(drop);
        assert!(pod.opened_before(url).is_none());
        open(" sqlite:/data/shop.db\n").await.expect("a file");
        let first = pod.opened_before(url).expect("it is remembered");
        open(url).await.expect("a file");
        let second = pod.opened_before(url).expect("it is remembered");
        assert!(Arc::ptr_eq(&first, &second));

        let elsewhere = open("sqlite:/etc/shop.db").await;
        assert!(matches!(elsewhere, Err(Error::AccessDenied(_))));
        let server = open("postgres://ann@db/shop").await;
        assert!(matches!(server, Err(Error::AccessDenied(_))));

        databases.close_below(folder.path()).await;
        assert!(pod.opened_before(url).is_none(), "it is closed");
        open(url).await.expect("a file");
        let third = pod.opened_before(url).expect("it is remembered");
        assert!(!Arc::ptr_eq(&first, &third));
        for number in 0..2 * FILES_MAX {
            // The pod may open a limited number of files at the same time.
            let _ = open(&format!("sqlite:/data/{number}.db")).await;
        }
        assert!(pod.opened.lock().len() <= FILES_MAX);
    }
}
