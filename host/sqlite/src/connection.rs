//! An open database file, made safe before the first statement of a guest runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// A statement that only the host may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostStatement {
    /// Begins a transaction and takes the write lock.
    Begin,
    Commit,
    Rollback,
    /// Marks a point in a transaction to which it can be rolled back.
    Savepoint,
    /// Rolls back to the savepoint, which remains.
    RollbackToSavepoint,
    /// Ends the savepoint.
    Release,
    /// Moves the contents of the write-ahead log into the file.
    Checkpoint,
}

impl HostStatement {
    /// Ends with a semicolon: prepared statements are kept by their text, and those of guests
    /// contain none. Otherwise a guest could run a statement that the host prepared.
    fn text(self) -> &'static str {
        match self {
            Self::Begin => "begin immediate;",
            Self::Commit => "commit;",
            Self::Rollback => "rollback;",
            Self::Savepoint => "savepoint item;",
            Self::RollbackToSavepoint => "rollback to item;",
            Self::Release => "release item;",
            Self::Checkpoint => "pragma wal_checkpoint(truncate);",
        }
    }
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
    /// Whether the limits of short statements are set. They stay set until a statement needs
    /// the usual ones.
    is_short: bool,
}

/// State that the callbacks of SQLite read.
#[derive(Default)]
struct Guard(Mutex<Running>);

#[derive(Default)]
struct Running {
    /// `None` if no statement runs.
    caller: Option<Caller>,
    /// Why the current statement was refused.
    refusal: Option<Refusal>,
}

/// Who runs the current statement, and when it must end.
enum Caller {
    /// The host itself: BEGIN, COMMIT and the like.
    Host,
    /// A guest, until this time. The statement is expected to be short.
    Until(Instant),
    /// A guest, until the watch ends it.
    Watched(Watch),
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
            is_short: false,
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
            // Otherwise a statement whose plan depends on a parameter, such as that of
            // LIMIT, is prepared again for every execution.
            (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        ] {
            inner.set_db_config(config, value)?;
        }
        limits::set(inner)?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let guard = self.guard.clone();
        let watch = move || guard.has_to_end();
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
        self.guarded(Caller::Watched(watch), |inner| {
            statement::run(inner, text, parameters, answer, only_reads)
        })
    }

    /// Runs a statement that is expected to be short, on a thread that must not block: it
    /// waits for no lock, ends at `until`, and values are small enough that no single
    /// step takes long. `None` only means that the statement was not short. Since it is
    /// guaranteed to only read, [`Connection::run`] may run it again from the start.
    pub fn run_short(
        &mut self,
        text: &str,
        parameters: &[Value],
        answer: Option<AnswerLimits>,
        until: Instant,
    ) -> Option<Rows> {
        let done = self.guarded(Caller::Until(until), |inner| {
            statement::run(inner, text, parameters, answer, true)
        });
        done.ok()
    }

    /// Runs a script in the open transaction.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn run_script(&mut self, script: &str, watch: Watch) -> Result<(), Error> {
        self.guarded(Caller::Watched(watch), |inner| {
            statement::run_script(inner, script)
        })
    }

    /// Runs a statement of the host itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn host(&mut self, statement: HostStatement) -> Result<(), Error> {
        self.guarded(Caller::Host, |inner| {
            let mut statement = inner.prepare_cached(statement.text())?;
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        })
    }

    /// Reads one value for the host itself, for example a setting.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn host_value(&mut self, statement: &str) -> Result<Value, Error> {
        self.guarded(Caller::Host, |inner| {
            Ok(inner.query_row(statement, (), |row| row.get(0))?)
        })
    }

    /// Checks the whole file, which may come from an untrusted source.
    ///
    /// # Errors
    /// The first problem of the file.
    pub fn quick_check(&mut self, watch: Watch) -> Result<(), Error> {
        let found: String = self.guarded(Caller::Watched(watch), |inner| {
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

    fn guarded<T>(
        &mut self,
        caller: Caller,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _scope = self.memory.enter();
        let short = matches!(caller, Caller::Until(_));
        if self.is_short != short {
            self.set_short(short)?;
        }
        self.guard.begin(caller);
        let done = work(&self.inner);
        let refusal = self.guard.end();
        match (done, refusal) {
            (Err(_), Some(Refusal::AccessDenied(message))) => Err(Error::AccessDenied(message)),
            (Err(_), Some(Refusal::Misplaced(message))) => Err(Error::InvalidStatement(message)),
            (done, _) => done,
        }
    }

    fn set_short(&mut self, short: bool) -> Result<(), Error> {
        let timeout = if short { Duration::ZERO } else { BUSY_TIMEOUT };
        self.inner.busy_timeout(timeout)?;
        limits::set_short(&self.inner, short)?;
        self.is_short = short;
        Ok(())
    }
}

impl Guard {
    fn begin(&self, caller: Caller) {
        *self.running() = Running {
            caller: Some(caller),
            refusal: None,
        };
    }

    /// Returns why the statement was refused, if it was.
    fn end(&self) -> Option<Refusal> {
        std::mem::take(&mut *self.running()).refusal
    }

    /// Called by SQLite while a statement runs.
    fn has_to_end(&self) -> bool {
        match &mut self.running().caller {
            None | Some(Caller::Host) => false,
            Some(Caller::Until(until)) => Instant::now() > *until,
            Some(Caller::Watched(watch)) => watch(),
        }
    }

    /// Called by SQLite while a statement is prepared.
    fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        let mut running = self.running();
        if matches!(running.caller, Some(Caller::Host)) {
            return Authorization::Allow;
        }
        match allow(&context.action, context.database_name) {
            Ok(()) => Authorization::Allow,
            Err(refusal) => {
                running.refusal.get_or_insert(refusal);
                Authorization::Deny
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::Budget;

    struct Unlimited;

    impl Budget for Unlimited {
        fn reserve(&self, _: u64) -> bool {
            true
        }

        fn release(&self, _: u64) {}
    }

    #[test]
    fn kept_statement_is_not_prepared_again_for_other_parameters() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut connection = Connection::open(&Settings {
            path: &folder.path().join("shop.db"),
            kind: Kind::Writer,
            memory: Memory::new(Arc::new(Unlimited)),
            size_max: 1 << 20,
        })
        .expect("a connection");
        let mut run = |text: &str, parameters: &[Value]| {
            let watch = Box::new(|| false);
            connection.run(Kind::Writer, text, parameters, None, watch)
        };
        run("create table a (b)", &[]).expect("a table");
        run("create index a_b on a (b)", &[]).expect("an index");
        run("insert into a values (1), (2), (2)", &[]).expect("rows");
        // With statistics, the planner wants to know the values of parameters.
        run("analyze", &[]).expect("statistics");
        let text = "select b from a where b = $1 order by b limit $2";
        for number in 0..10 {
            let parameters = [Value::Integer(number), Value::Integer(number)];
            run(text, &parameters).expect("rows");
        }
        let kept = connection.inner.prepare_cached(text).expect("a statement");
        assert_eq!(kept.get_status(StatementStatus::RePrepare), 0);
        assert!(kept.get_status(StatementStatus::Run) >= 10);
    }
}
