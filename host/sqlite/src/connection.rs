//! An open database file, made safe before the first statement of a guest runs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthContext, Authorization};
use rusqlite::types::Value;

use crate::authorizer::{Refusal, allow};
use crate::memory::{Memory, initialize};
use crate::{AnswerLimits, Error, Rows, functions, limits, statement};

/// The index of the write-ahead log is on the heap, shared by the connections of this
/// process: no file can be truncated under a memory map, and no other process can open
/// the database.
pub(crate) const VFS: &str = "unix-excl";

/// How long a statement waits for the lock of another workload's connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Instructions of SQLite's virtual machine, about 20 µs, between two calls of the watch.
const INSTRUCTIONS_PER_WATCH: i32 = 1_000;

/// Prepared statements that a connection keeps.
const STATEMENTS_KEPT: usize = 64;

/// KiB of pages that a connection caches.
const CACHE_KIB: u32 = 2_000;

/// Bytes that a write-ahead log keeps after a checkpoint.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

/// The largest value that SQLite accepts for `max_page_count`.
const PAGES_MAX: u64 = 0xffff_fffe;

/// Called repeatedly while a statement runs; returning true ends the statement.
pub type Watch = Box<dyn FnMut() -> bool + Send>;

/// How a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Creates the file if it does not exist. There is one writer per file.
    Writer,
    /// Opens an existing file.
    Reader,
}

/// How a file is opened.
pub struct Settings<'a> {
    /// Absolute and without symbolic links; never text that a guest provided.
    pub path: &'a Path,
    pub kind: Kind,
    pub memory: Arc<Memory>,
    /// The maximum size of the file in bytes.
    pub size_max: u64,
}

/// See the module's documentation.
pub struct Connection {
    inner: rusqlite::Connection,
    memory: Arc<Memory>,
    guard: Arc<Guard>,
}

/// State that the callbacks of SQLite read.
#[derive(Default)]
struct Guard {
    /// The host itself runs a statement: BEGIN, COMMIT and the like.
    trusted: AtomicBool,
    /// Why the current statement was refused.
    refusal: Mutex<Option<Refusal>>,
    watch: Mutex<Option<Watch>>,
}

impl Connection {
    /// # Errors
    /// The file cannot be opened, or is not a database.
    pub fn open(settings: &Settings<'_>) -> Result<Self, Error> {
        initialize()?;
        let scope = settings.memory.enter();
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        if settings.kind == Kind::Writer {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let inner = rusqlite::Connection::open_with_flags_and_vfs(settings.path, flags, VFS)?;
        let mut connection = Self {
            inner,
            memory: settings.memory.clone(),
            guard: Arc::default(),
        };
        connection.harden(settings)?;
        drop(scope);
        Ok(connection)
    }

    /// The order matters: the schema must be marked as untrusted before any of it is
    /// read.
    fn harden(&mut self, settings: &Settings<'_>) -> Result<(), Error> {
        let inner = &mut self.inner;
        inner.busy_timeout(BUSY_TIMEOUT)?;
        for (config, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
        ] {
            inner.set_db_config(config, value)?;
        }
        limits::set(inner)?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let guard = self.guard.clone();
        let watch = move || guard.watch().as_mut().is_some_and(|watch| watch());
        inner.progress_handler(INSTRUCTIONS_PER_WATCH, Some(watch))?;
        inner.execute_batch(&format!(
            "pragma mmap_size = 0;
             pragma cell_size_check = on;
             pragma cache_size = -{CACHE_KIB};
             pragma temp_store = memory;
             pragma synchronous = full;
             pragma journal_size_limit = {JOURNAL_BYTES_MAX};"
        ))?;
        match settings.kind {
            Kind::Writer => {
                inner.execute_batch("pragma journal_mode = wal")?;
                let page_size: u32 = inner.query_row("pragma page_size", (), |row| row.get(0))?;
                let pages = settings.size_max / u64::from(page_size.max(512));
                let pages = pages.min(PAGES_MAX);
                inner.execute_batch(&format!("pragma max_page_count = {pages}"))?;
            }
            Kind::Reader => inner.execute_batch("pragma query_only = on")?,
        }
        functions::register(inner)?;
        let guard = self.guard.clone();
        inner.authorizer(Some(move |context: AuthContext<'_>| guard.judge(&context)))?;
        Ok(())
    }

    /// Runs one statement until it completes or the watch ends it. A reader refuses
    /// statements that write.
    ///
    /// # Errors
    /// See [`Error`]. [`Error::Writes`] means that the statement had no effect.
    pub fn run(
        &mut self,
        kind: Kind,
        text: &str,
        parameters: &[Value],
        answer: Option<AnswerLimits>,
        watch: Watch,
    ) -> Result<Rows, Error> {
        let only_reads = kind == Kind::Reader;
        self.watched(watch, |inner| {
            statement::run(inner, text, parameters, answer, only_reads)
        })
    }

    /// Runs a statement that is expected to be short, on a thread that must not block: it
    /// waits for no lock, `watch` ends it, and values are small enough that no single
    /// step takes long. `None` only means that the statement was not short. Since it is
    /// guaranteed to only read, [`Connection::run`] may run it again from the start.
    pub fn run_short(
        &mut self,
        text: &str,
        parameters: &[Value],
        answer: Option<AnswerLimits>,
        watch: Watch,
    ) -> Option<Rows> {
        let hurried = self.inner.busy_timeout(Duration::ZERO).is_ok()
            && limits::set_short(&self.inner, true).is_ok();
        let done = hurried.then(|| self.run(Kind::Reader, text, parameters, answer, watch));
        let back = self.inner.busy_timeout(BUSY_TIMEOUT).is_ok()
            && limits::set_short(&self.inner, false).is_ok();
        done?.ok().filter(|_| back)
    }

    /// Runs a script in the open transaction.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run_script(&mut self, script: &str, watch: Watch) -> Result<(), Error> {
        self.watched(watch, |inner| statement::run_script(inner, script))
    }

    /// Runs statements of the host itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn host(&mut self, statements: &str) -> Result<(), Error> {
        let _scope = self.memory.enter();
        self.guard.trusted.store(true, Ordering::Relaxed);
        let done = self.inner.execute_batch(statements);
        self.guard.trusted.store(false, Ordering::Relaxed);
        Ok(done?)
    }

    /// Reads one value for the host itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn host_value(&mut self, statement: &str) -> Result<Value, Error> {
        let _scope = self.memory.enter();
        self.guard.trusted.store(true, Ordering::Relaxed);
        let read = self.inner.query_row(statement, (), |row| row.get(0));
        self.guard.trusted.store(false, Ordering::Relaxed);
        Ok(read?)
    }

    /// Checks the whole file, which may come from an untrusted source.
    ///
    /// # Errors
    /// The first problem of the file.
    pub fn quick_check(&mut self, watch: Watch) -> Result<(), Error> {
        let found: String = self.watched(watch, |inner| {
            Ok(inner.query_row("pragma quick_check(1)", (), |row| row.get(0))?)
        })?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(Error::Unavailable("the file is damaged".into())),
        }
    }

    /// Whether no transaction is open.
    pub fn is_autocommit(&self) -> bool {
        self.inner.is_autocommit()
    }

    fn watched<T>(
        &mut self,
        watch: Watch,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _scope = self.memory.enter();
        *self.guard.refusal() = None;
        *self.guard.watch() = Some(watch);
        let done = work(&self.inner);
        *self.guard.watch() = None;
        match (done, self.guard.refusal().take()) {
            (Err(_), Some(Refusal::AccessDenied(message))) => Err(Error::AccessDenied(message)),
            (Err(_), Some(Refusal::Misplaced(message))) => Err(Error::InvalidStatement(message)),
            (done, _) => done,
        }
    }
}

impl Guard {
    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        if self.trusted.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        match allow(&context.action, context.database_name) {
            Ok(()) => Authorization::Allow,
            Err(refusal) => {
                self.refusal().get_or_insert(refusal);
                Authorization::Deny
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Option<Watch>> {
        self.watch.lock()
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Refusal>> {
        self.refusal.lock()
    }
}
