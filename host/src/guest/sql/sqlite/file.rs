//! An open file: several connections that read and one that writes. They are opened on demand
//! and closed when they are not used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use galleria_mesh as mesh;
use galleria_sqlite::{self as sqlite, Connection, Kind, Memory, Settings};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::caller::{Caller, PodBudget, STATEMENT_MAX, Stopping, Waiting, is_over_since};
use super::placement;
use super::short::{ENDED_AFTER, RecalledDuration, Statements};
use super::work::Statement;
use super::writer::Queue;
use super::{Error, failure};
use crate::guest::deadline::since_origin;
use crate::guest::sql::access;

/// Connections that read one file. More of them gain little, and each uses two descriptors and
/// up to 2 MB.
const READERS_MAX: usize = 3;

/// Concurrent statements of one pod on threads for blocking work. Further ones wait, so that a
/// pod only delays itself. Short reads on the threads of their guests are not included.
const RUNNING_MAX: usize = 4;

/// How long a statement waits for a connection before it fails.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(5);

/// How exactly the time of the latest use is kept.
const USED_PRECISION: Duration = Duration::from_secs(1);

/// The maximum duration of checking a file that is imported.
const IMPORT_MAX: Duration = Duration::from_secs(60);

/// The maximum size of a file, so that checking and copying it takes a bearable time.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// Shared by all files of a pod.
#[derive(Clone)]
pub(in crate::guest::sql) struct Tenant {
    running: Arc<Semaphore>,
    budget: Arc<PodBudget>,
    memory: Arc<Memory>,
    statements: Arc<Statements>,
}

/// Held while a workload writes to a file.
pub(in crate::guest::sql) type AmongWorkloads = Arc<tokio::sync::Mutex<()>>;

/// See the module's documentation.
pub(in crate::guest::sql) struct File {
    pub(in crate::guest::sql) workload: Arc<mesh::Workload>,
    pub(in crate::guest::sql) tenant: Tenant,
    place: access::File,
    /// Set when the host stops: statements must end soon.
    pub(super) stopping: Stopping,
    /// Idle connections that read.
    idle: Mutex<Vec<Connection>>,
    /// One permit for each connection that may read.
    readers: Arc<Semaphore>,
    /// None if the connection is not open. Whoever holds the lock writes.
    pub(super) writer: Arc<tokio::sync::Mutex<Option<Connection>>>,
    /// The turn to write to the file, shared by the workloads that use it. SQLite has a lock
    /// too, but a thread that waits for it sleeps and looks again.
    pub(super) among_workloads: AmongWorkloads,
    pub(super) queue: Mutex<Queue>,
    /// Notified when the wanted number of writes is in the queue.
    pub(super) gathered: Condvar,
    /// The number of open connections, for metrics.
    open: AtomicUsize,
    /// When the file was last used, in milliseconds since the origin.
    used: AtomicU64,
}

impl Tenant {
    pub(in crate::guest::sql) fn new(caller: &Caller) -> Self {
        let budget = caller.budget();
        Self {
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            memory: Memory::new(budget.clone()),
            budget,
            statements: Arc::default(),
        }
    }

    pub(in crate::guest::sql) fn is_of(&self, caller: &Caller) -> bool {
        caller.is_of(&self.budget)
    }
}

impl File {
    /// A file without open connections.
    pub(in crate::guest::sql) fn new(
        place: access::File,
        workload: Arc<mesh::Workload>,
        tenant: Tenant,
        among_workloads: AmongWorkloads,
        stopping: Stopping,
    ) -> Arc<Self> {
        Arc::new(Self {
            workload,
            tenant,
            place,
            stopping,
            idle: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            writer: Arc::default(),
            among_workloads,
            queue: Mutex::default(),
            gathered: Condvar::new(),
            open: AtomicUsize::new(0),
            used: AtomicU64::new(millis(Instant::now())),
        })
    }

    /// Opens the file for the first time, or reports why it cannot be opened.
    pub(in crate::guest::sql) async fn check(self: &Arc<Self>) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }
        let writer = timeout(WAIT_MAX, self.writer.clone().lock_owned()).await;
        let mut writer = writer.map_err(|_| locked())?;
        if writer.is_some() {
            return Ok(());
        }
        let running = self.may_run().await?;
        let file = self.clone();
        blocking(move || {
            let _running = running;
            let (stopping, until) = (file.stopping.clone(), Instant::now() + IMPORT_MAX);
            // Continues even if its request has ended, because the next request would start
            // again.
            let watch = move || is_over_since(&stopping) || Instant::now() > until;
            placement::prepare(&file.place, &file.tenant.memory, Box::new(watch))?;
            file.open_writer(&mut writer).map_err(failure)?;
            Ok(())
        })
        .await
    }

    /// Whether it has open connections, so that [`File::check`] has nothing to do.
    pub(in crate::guest::sql) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.place.read_only
    }

    pub(in crate::guest::sql) fn among_workloads(&self) -> AmongWorkloads {
        self.among_workloads.clone()
    }

    pub(in crate::guest::sql) fn mounted_at(&self) -> &str {
        &self.place.mounted_at
    }

    /// The numbers of idle and of busy connections.
    pub(in crate::guest::sql) fn connections(&self) -> [usize; 2] {
        let reading = self.idle().len();
        let writing = self.writer.try_lock().is_ok_and(|writer| writer.is_some());
        let idle = reading + usize::from(writing);
        let open = self.open.load(Ordering::Relaxed);
        [idle.min(open), open.saturating_sub(idle)]
    }

    pub(in crate::guest::sql) fn unused_for(&self) -> Duration {
        let unused = millis(Instant::now()).saturating_sub(self.used.load(Ordering::Relaxed));
        Duration::from_millis(unused)
    }

    /// Runs a statement on the current thread if it is known to be short. What is known about
    /// it otherwise, or if it was not short this time.
    pub(super) fn read_if_short(
        &self,
        statement: &Statement,
    ) -> Result<sqlite::Rows, RecalledDuration> {
        let now = Instant::now();
        self.touch(now);
        let recalled = self.tenant.statements.recall(&statement.text, now);
        let rows = match recalled.is_short() {
            true => self.read_short(statement, recalled, now),
            false => None,
        };
        rows.ok_or(recalled)
    }

    /// Runs a statement that only reads on another thread, in parallel with others. A
    /// statement that writes is returned unchanged.
    pub(super) async fn read(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        statement: Statement,
        recalled: RecalledDuration,
    ) -> Result<Result<sqlite::Rows, Statement>, Error> {
        let reader = timeout(WAIT_MAX, self.readers.clone().acquire_owned()).await;
        let Ok(Ok(reader)) = reader else {
            return Err(exhausted());
        };
        let running = self.may_run().await?;
        let (waiting, abandoned) = Waiting::begin();
        let (file, caller) = (self.clone(), caller.clone());
        let done = blocking(move || {
            let _permits = (reader, running);
            let until = Instant::now() + STATEMENT_MAX;
            let mut connection = file.reader().map_err(failure)?;
            let watch = caller.watch(&abandoned, &file.stopping, until);
            let began = Instant::now();
            let done = statement.run(&mut connection, Kind::Reader, watch);
            file.idle().push(connection);
            file.tenant.statements.took(recalled, began);
            match done {
                Ok(rows) => Ok(Ok(rows)),
                Err(sqlite::Error::Writes) => Ok(Err(statement)),
                Err(error) => Err(failure(error)),
            }
        });
        let done = done.await;
        drop(waiting);
        done
    }

    /// Runs a statement that is known to be short on the current thread. None if it must run
    /// on another thread, because it was not short this time, or it would have to wait.
    fn read_short(
        &self,
        statement: &Statement,
        recalled: RecalledDuration,
        began: Instant,
    ) -> Option<sqlite::Rows> {
        let _reader = self.readers.try_acquire().ok()?;
        let mut connection = self.idle().pop()?;
        let running = recalled.runs_here(began);
        let rows = connection.run_short(
            &statement.text,
            &statement.parameters,
            statement.answer,
            began + ENDED_AFTER,
        );
        self.idle().push(connection);
        self.tenant.statements.took_here(&running);
        rows
    }

    /// A permit to run a statement of the pod.
    pub(super) async fn may_run(&self) -> Result<OwnedSemaphorePermit, Error> {
        match timeout(WAIT_MAX, self.tenant.running.clone().acquire_owned()).await {
            Ok(Ok(running)) => Ok(running),
            _ => Err(exhausted()),
        }
    }

    /// A permit to run a statement of the pod, if nothing waits for one.
    pub(super) fn try_run(&self) -> Option<OwnedSemaphorePermit> {
        self.tenant.running.clone().try_acquire_owned().ok()
    }

    /// A permit to run a statement of the pod, as soon as there is one.
    pub(super) async fn run_next(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.tenant.running.clone().acquire_owned().await.ok()
    }

    /// Why a write has waited for too long.
    pub(super) fn reason_to_wait(&self) -> Error {
        match self.tenant.running.available_permits() {
            0 => exhausted(),
            _ => locked(),
        }
    }

    fn reader(&self) -> Result<Connection, sqlite::Error> {
        if let Some(connection) = self.idle().pop() {
            return Ok(connection);
        }
        self.open_connection(Kind::Reader)
    }

    /// Opens the connection that writes, if it is closed.
    pub(super) fn open_writer<'a>(
        &self,
        writer: &'a mut Option<Connection>,
    ) -> Result<&'a mut Connection, sqlite::Error> {
        if let Some(open) = writer {
            return Ok(open);
        }
        let kind = match self.place.read_only {
            true => Kind::Reader,
            false => Kind::Writer,
        };
        Ok(writer.insert(self.open_connection(kind)?))
    }

    /// The maximum size of the file: its current size and the space that is left in its volume.
    fn size_max(&self) -> u64 {
        let Some(quota) = &self.place.quota else {
            return FILE_BYTES_MAX;
        };
        let size = std::fs::metadata(&self.place.path).map_or(0, |file| file.len());
        size.saturating_add(quota.room()).min(FILE_BYTES_MAX)
    }

    fn open_connection(&self, kind: Kind) -> Result<Connection, sqlite::Error> {
        let connection = Connection::open(&Settings {
            path: &self.place.path,
            kind,
            memory: self.tenant.memory.clone(),
            size_max: self.size_max(),
        })?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    /// Closes the idle connections. They are opened again on demand.
    pub(in crate::guest::sql) fn close_idle(&self) {
        let mut closed: Vec<_> = std::mem::take(&mut *self.idle());
        if let Ok(mut writer) = self.writer.try_lock() {
            closed.extend(writer.take());
        }
        self.open.fetch_sub(closed.len(), Ordering::Relaxed);
        drop(closed);
    }

    /// Waits for the statements in progress and closes all connections.
    pub(in crate::guest::sql) async fn close(self: Arc<Self>) {
        let readers = u32::try_from(READERS_MAX).unwrap_or(u32::MAX);
        let _reading = timeout(WAIT_MAX, self.readers.acquire_many(readers)).await;
        drop(timeout(WAIT_MAX, self.writer.lock()).await);
        let file = self.clone();
        let closed = tokio::task::spawn_blocking(move || file.close_idle());
        // It does not panic, and stopping the host depends on nothing else.
        let _ = closed.await;
    }

    /// Remembers that the file is used. The value rarely changes; without a write, no cache
    /// line moves between cores.
    pub(super) fn touch(&self, now: Instant) {
        let now = millis(now);
        let used = self.used.load(Ordering::Relaxed);
        if Duration::from_millis(now.saturating_sub(used)) >= USED_PRECISION {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock()
    }
}

fn millis(now: Instant) -> u64 {
    u64::try_from(since_origin(now).as_millis()).unwrap_or(u64::MAX)
}

/// Runs `work` on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Unavailable("the host is stopping".into())),
    }
}

pub(super) fn locked() -> Error {
    Error::Busy(format!(
        "the database was locked by other statements for {} s; try the whole transaction again",
        WAIT_MAX.as_secs()
    ))
}

fn exhausted() -> Error {
    Error::Unavailable(format!(
        "the pod already runs {RUNNING_MAX} statements, and none finished within {} s; select less \
         at a time",
        WAIT_MAX.as_secs()
    ))
}
