//! What came by the API, in the data folder: there again after a restart, however
//! the host ended. It knows rows of JSON and nothing of what they mean.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use galleria_manifest::model::ObjectKey;
use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;

use super::desired::ApiOverride;
use crate::store::read_object;

/// In the data folder.
const FILE: &str = "objects.db";

const TABLE: &str = "create table if not exists objects (
    api_group text not null, kind text not null, namespace text not null, name text not null,
    object text, over text,
    primary key (api_group, kind, namespace, name)
) strict";

/// How long to wait for whoever looks at the file from outside.
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
pub(super) struct ApiStore(Connection);

impl ApiStore {
    /// Opens the file; nobody else may read it, it holds Secrets.
    ///
    /// # Errors
    /// See [`ApiStoreError`].
    pub(super) fn open(data: &Path) -> Result<Self, ApiStoreError> {
        let path = data.join(FILE);
        let file = fs::File::options().create(true).append(true).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        galleria_sqlite::initialize()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // What was answered survives a crash of the process and of the machine.
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full")?;
        connection.execute_batch(TABLE)?;
        Ok(Self(connection))
    }

    /// Everything. A row that this version cannot read stays where it is, is not
    /// in force, and is told of.
    ///
    /// # Errors
    /// See [`ApiStoreError`].
    pub(super) fn load(&mut self) -> Result<BTreeMap<ObjectKey, ApiOverride>, ApiStoreError> {
        let all = "select api_group, kind, namespace, name, object, over from objects";
        let mut all = self.0.prepare(all)?;
        let mut rows = all.query(())?;
        let mut written = BTreeMap::new();
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
            let object = match object.map(|raw| read_object(&key, &raw)) {
                None => None,
                Some(Ok(read)) => Some(read.object),
                Some(Err(problems)) => {
                    for problem in problems {
                        tracing::error!("ignoring {key} from the API: {problem}");
                    }
                    continue;
                }
            };
            written.insert(key, ApiOverride { object, over });
        }
        Ok(written)
    }

    /// Makes the rows that differ say what `after` says.
    ///
    /// # Errors
    /// See [`ApiStoreError`]; nothing is changed then.
    pub(super) fn save(
        &mut self,
        before: &BTreeMap<ObjectKey, ApiOverride>,
        after: &BTreeMap<ObjectKey, ApiOverride>,
    ) -> Result<(), ApiStoreError> {
        let same = |a: &ApiOverride, b: &ApiOverride| {
            let raw = |it: &ApiOverride| it.object.as_ref().map(|it| it.raw.clone());
            a.over == b.over && raw(a) == raw(b)
        };
        let gone = before.keys().filter(|key| !after.contains_key(key));
        let changed: Vec<_> = after
            .iter()
            .filter(|(key, it)| before.get(key).is_none_or(|known| !same(known, it)))
            .collect();
        let transaction = self.0.transaction()?;
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
}
