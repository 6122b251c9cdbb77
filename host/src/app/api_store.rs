//! The objects from the API, persisted in the data folder. They survive a restart,
//! however the host ended.
//!
//! An object is stored as JSON, or as the prefix of its encryption and the base64 of the
//! rest. Objects that would be stored in another way now are stored again at the start, so
//! that a restart with a new first key is a rotation.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
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
use crate::encryption::{self, DecryptError, EncryptError, Encryption, Subject};
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
    #[error("cannot read {key} in `{FILE}` in the data folder: {source}")]
    Decrypt { key: String, source: DecryptError },
    #[error("cannot store {key} in `{FILE}` in the data folder: {source}")]
    Encrypt { key: String, source: EncryptError },
}

/// See the module's documentation.
pub(super) struct ApiStore {
    inner: Mutex<Inner>,
    allowed: AllowUnenforced,
    encryption: Arc<Encryption>,
}

struct Inner {
    connection: Connection,
    /// The rows that were read or saved last.
    saved: BTreeMap<ObjectKey, ApiOverride>,
}

impl ApiStore {
    /// Opens the file, whose objects may have the restrictions of `allowed` and are
    /// encrypted by `encryption`. Only its owner may read it, because it contains Secrets.
    ///
    /// # Errors
    /// See [`ApiStoreError`].
    pub(super) fn open(
        data: &Path,
        allowed: AllowUnenforced,
        encryption: Arc<Encryption>,
    ) -> Result<Self, ApiStoreError> {
        let path = data.join(FILE);
        let file = fs::File::options().create(true).append(true).open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        galleria_sqlite::initialize()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // An acknowledged write survives a crash of the process and of the machine.
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full")?;
        // A value that was replaced must not stay in a free part of the file.
        connection.execute_batch("pragma secure_delete = on")?;
        connection.execute_batch(TABLE)?;
        let inner = Mutex::new(Inner {
            connection,
            saved: BTreeMap::new(),
        });
        Ok(Self {
            inner,
            allowed,
            encryption,
        })
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
        write(connection, &self.encryption, saved, overrides)?;
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
        let rows = rows(&inner.connection, &self.encryption)?;
        self.renew(&mut inner.connection, &rows)?;
        let (saved, diagnostics) = parse(&rows, &self.allowed);
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

/// A row, decrypted.
struct Row {
    key: ObjectKey,
    /// JSON.
    object: Option<String>,
    /// JSON.
    over: Option<String>,
    /// Whether it would be encrypted in another way now.
    is_stale: bool,
}

/// Reads every row.
///
/// # Errors
/// See [`ApiStoreError`]; a value that no key can decrypt is one, and stays in the file.
fn rows(connection: &Connection, encryption: &Encryption) -> Result<Vec<Row>, ApiStoreError> {
    let all = "select api_group, kind, namespace, name, object, over from objects";
    let mut all = connection.prepare(all)?;
    let mut stored = all.query(())?;
    let mut rows = Vec::new();
    while let Some(row) = stored.next()? {
        let key = ObjectKey {
            group: row.get(0)?,
            kind: row.get(1)?,
            namespace: row.get(2)?,
            name: row.get(3)?,
        };
        let mut is_stale = false;
        let mut plain = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let (text, stale) = decrypt(encryption, &key, &text)?;
                is_stale |= stale;
                Ok::<_, ApiStoreError>(Some(text))
            }
        };
        let (object, over) = (plain(row.get(4)?)?, plain(row.get(5)?)?);
        rows.push(Row {
            key,
            object,
            over,
            is_stale,
        });
    }
    Ok(rows)
}

/// Parses rows. A row that this version cannot read is logged and ignored, and stays in the
/// file. A restriction that is not enforced is a diagnostic instead, because ignoring it
/// would open what it closes.
fn parse(
    rows: &[Row],
    allowed: &AllowUnenforced,
) -> (BTreeMap<ObjectKey, ApiOverride>, Vec<Diagnostic>) {
    let (mut written, mut diagnostics) = (BTreeMap::new(), Vec::new());
    for row in rows {
        let key = &row.key;
        let json = |text: &Option<String>| {
            let parsed = text.as_deref().map(serde_json::from_str::<Value>);
            parsed.transpose()
        };
        let (Ok(object), Ok(over)) = (json(&row.object), json(&row.over)) else {
            tracing::error!("ignoring {key} from the API: it is not JSON");
            continue;
        };
        let object = match object.map(|raw| read_object(key, &raw, allowed)) {
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
        written.insert(key.clone(), ApiOverride { object, over });
    }
    (written, diagnostics)
}

impl ApiStore {
    /// Stores the rows again that would be encrypted in another way now, all or none.
    ///
    /// # Errors
    /// See [`ApiStoreError`]; the file is as before then.
    fn renew(&self, connection: &mut Connection, rows: &[Row]) -> Result<(), ApiStoreError> {
        let stale: Vec<_> = rows.iter().filter(|row| row.is_stale).collect();
        if stale.is_empty() {
            return Ok(());
        }
        let transaction = connection.transaction()?;
        for row in &stale {
            let texts = (row.object.as_deref(), row.over.as_deref());
            replace(&transaction, &self.encryption, &row.key, texts)?;
        }
        transaction.commit()?;
        // The log still has the former values.
        connection.execute_batch("pragma wal_checkpoint(truncate)")?;
        let objects = stale.len();
        tracing::info!(objects, "stored objects from the API with the first key");
        Ok(())
    }
}

/// The JSON of a stored text, and whether it would be stored in another way now.
fn decrypt(
    encryption: &Encryption,
    key: &ObjectKey,
    text: &str,
) -> Result<(String, bool), ApiStoreError> {
    let decrypted = encryption.decrypt(&Subject::of(key), &encryption::from_text(text));
    let failed = |source| ApiStoreError::Decrypt {
        key: key.to_string(),
        source,
    };
    let decrypted = decrypted.map_err(failed)?;
    let text = String::from_utf8_lossy(&decrypted.value).into_owned();
    Ok((text, decrypted.is_stale))
}

/// Stores a row; each of its `texts` is JSON.
fn replace(
    connection: &Connection,
    encryption: &Encryption,
    key: &ObjectKey,
    (object, over): (Option<&str>, Option<&str>),
) -> Result<(), ApiStoreError> {
    let replace = "insert or replace into objects \
             (api_group, kind, namespace, name, object, over) values (?, ?, ?, ?, ?, ?)";
    let subject = Subject::of(key);
    let stored = |text: Option<&str>| {
        let encrypted = text.map(|text| encryption.encrypt(&subject, text.as_bytes()));
        let encrypted = encrypted
            .transpose()
            .map_err(|source| ApiStoreError::Encrypt {
                key: key.to_string(),
                source,
            });
        Ok::<_, ApiStoreError>(encrypted?.map(|stored| encryption::to_text(&stored)))
    };
    let (object, over) = (stored(object)?, stored(over)?);
    let ObjectKey {
        group,
        kind,
        namespace,
        name,
    } = key;
    connection.execute(replace, params![group, kind, namespace, name, object, over])?;
    Ok(())
}

/// Writes the rows that differ between `before` and `after`.
fn write(
    connection: &mut Connection,
    encryption: &Encryption,
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
        let object = written.object.as_ref().map(|object| object.raw.to_string());
        let over = written.over.as_ref().map(Value::to_string);
        replace(
            &transaction,
            encryption,
            key,
            (object.as_deref(), over.as_deref()),
        )?;
    }
    Ok(transaction.commit()?)
}
