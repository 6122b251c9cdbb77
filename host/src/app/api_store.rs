//! The objects from the API, persisted in the data folder. They survive a restart,
//! however the host ended.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use futures::stream::{self, BoxStream, StreamExt};
use galleria_manifest::model::ObjectKey;
use galleria_manifest::{AllowUnenforced, Diagnostic, Severity};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;

use super::desired::ApiOverride;
use super::source::{Contents, Layer, ObjectSource};
use crate::store::read_object;

/// In the data folder.
const FILE: &str = "objects.db";

const TABLE: &str = "create table if not exists objects (
    api_group text not null, kind text not null, namespace text not null, name text not null,
    object text, over text,
    primary key (api_group, kind, namespace, name)
) strict";

/// How long to wait for another process that has the file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an object written through the API cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiStoreError {
    #[error("cannot create `{FILE}` in the data folder: {0}")]
    File(#[from] io::Error),
    #[error("cannot use `{FILE}` in the data folder: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("cannot use `{FILE}` in the data folder: {0}")]
    Sqlite(#[from] galleria_sqlite::Error),
}

/// See the module's documentation.
pub(super) struct ApiStore {
    inner: Mutex<Inner>,
    allowed: AllowUnenforced,
}

struct Inner {
    connection: Connection,
    /// The rows that were read or saved last.
    saved: BTreeMap<ObjectKey, ApiOverride>,
}

impl ApiStore {
    /// Opens the file, whose objects may have the restrictions of `allowed`. Only its owner may read it, because it contains Secrets.
    ///
    /// # Errors
    /// See [`ApiStoreError`].
    pub(super) fn open(data: &Path, allowed: AllowUnenforced) -> Result<Self, ApiStoreError> {
        let path = data.join(FILE);
        let file = fs::File::options().create(true).append(true).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        galleria_sqlite::initialize()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // An acknowledged write survives a crash of the process and of the machine.
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full")?;
        connection.execute_batch(TABLE)?;
        let inner = Mutex::new(Inner {
            connection,
            saved: BTreeMap::new(),
        });
        Ok(Self { inner, allowed })
    }

    /// Replaces the rows by `overrides`.
    ///
    /// # Errors
    /// See [`ApiStoreError`]; nothing has changed then.
    pub(super) fn save(
        &self,
        overrides: &BTreeMap<ObjectKey, ApiOverride>,
    ) -> Result<(), ApiStoreError> {
        let mut inner = self.inner.lock();
        let Inner { connection, saved } = &mut *inner;
        write(connection, saved, overrides)?;
        saved.clone_from(overrides);
        Ok(())
    }
}

impl ObjectSource for ApiStore {
    fn name(&self) -> &'static str {
        "objects from the API"
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let mut inner = self.inner.lock();
        let (saved, diagnostics) = read(&inner.connection, &self.allowed)?;
        inner.saved = saved;
        Ok(Contents {
            layer: Layer::Overrides(inner.saved.clone()),
            diagnostics,
        })
    }

    /// Only the control loop changes these objects, so there is nothing to watch.
    fn watch(&self) -> anyhow::Result<BoxStream<'static, ()>> {
        Ok(stream::pending().boxed())
    }
}

/// Reads every row. A row that this version cannot read is logged and ignored, and
/// stays in the file. A restriction that is not enforced is a diagnostic instead, because
/// ignoring it would open what it closes.
fn read(
    connection: &Connection,
    allowed: &AllowUnenforced,
) -> Result<(BTreeMap<ObjectKey, ApiOverride>, Vec<Diagnostic>), ApiStoreError> {
    let all = "select api_group, kind, namespace, name, object, over from objects";
    let mut all = connection.prepare(all)?;
    let mut rows = all.query(())?;
    let (mut written, mut diagnostics) = (BTreeMap::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let key = ObjectKey {
            group: row.get(0)?,
            kind: row.get(1)?,
            namespace: row.get(2)?,
            name: row.get(3)?,
        };
        let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text));
        let object: Option<Value> = json(row.get(4)?).transpose().unwrap_or_default();
        let over = json(row.get(5)?).transpose().unwrap_or_default();
        let object = match object.map(|raw| read_object(&key, &raw, allowed)) {
            None => None,
            Some(Ok(read)) => Some(read.object),
            Some(Err(problems)) => {
                let is_open =
                    |it: &Diagnostic| it.unenforced.is_some() && it.severity == Severity::Error;
                if problems.iter().any(is_open) {
                    diagnostics.extend(problems);
                    continue;
                }
                for problem in problems {
                    tracing::error!("ignoring {key} from the API: {problem}");
                }
                continue;
            }
        };
        written.insert(key, ApiOverride { object, over });
    }
    Ok((written, diagnostics))
}

/// Writes the rows that differ between `before` and `after`.
fn write(
    connection: &mut Connection,
    before: &BTreeMap<ObjectKey, ApiOverride>,
    after: &BTreeMap<ObjectKey, ApiOverride>,
) -> Result<(), ApiStoreError> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let changed: Vec<_> = after
        .iter()
        .filter(|(key, it)| before.get(key).is_none_or(|known| !known.is_same(it)))
        .collect();
    let transaction = connection.transaction()?;
    for ObjectKey {
        group,
        kind,
        namespace,
        name,
    } in gone
    {
        let delete = "delete from objects \
                 where api_group = ? and kind = ? and namespace = ? and name = ?";
        transaction.execute(delete, params![group, kind, namespace, name])?;
    }
    for (key, written) in changed {
        let replace = "insert or replace into objects \
                 (api_group, kind, namespace, name, object, over) values (?, ?, ?, ?, ?, ?)";
        let object = written.object.as_ref().map(|object| object.raw.to_string());
        let over = written.over.as_ref().map(Value::to_string);
        let ObjectKey {
            group,
            kind,
            namespace,
            name,
        } = key;
        transaction.execute(replace, params![group, kind, namespace, name, object, over])?;
    }
    Ok(transaction.commit()?)
}
