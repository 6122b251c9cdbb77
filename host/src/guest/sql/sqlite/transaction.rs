//! A guest's transaction. It occupies the only connection of the file that writes, so it is
//! rolled back if the guest keeps it for too long; the guest's next statement then fails.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use galleria_sqlite::{self as sqlite, Connection, HostStatement, Kind};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

use super::caller::{Caller, Waiting};
use super::file::{File, WAIT_MAX, blocking, locked};
use super::work::{Statement, end_transaction};
use super::{ANSWER, Error, RowSet, Value, failure, row_set};

/// The maximum duration of a transaction. Others wait for [`WAIT_MAX`] before they fail with
/// `busy`, and can then try again.
const TRANSACTION_MAX: Duration = Duration::from_secs(10);

/// The maximum time between two statements.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A transaction. Rolled back when dropped.
pub(in crate::guest::sql) struct Transaction {
    shared: Arc<SharedTransaction>,
    file: Arc<File>,
    caller: Arc<Caller>,
}

struct SharedTransaction {
    state: Mutex<State>,
    began: Instant,
}

struct State {
    /// None while a statement runs, and after the transaction has ended.
    held: Option<OpenTransaction>,
    /// When the latest statement ended.
    used: Instant,
    over: bool,
}

/// The connection with the open transaction, and the file.
struct OpenTransaction {
    writer: OwnedMutexGuard<Option<Connection>>,
    _among_workloads: OwnedMutexGuard<()>,
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(connection) = &mut *self.writer {
            end_transaction(connection);
        }
    }
}

impl Transaction {
    /// Takes the write lock immediately. Otherwise a transaction that first reads and then
    /// writes could fail halfway.
    pub(super) async fn begin(file: &Arc<File>, caller: &Arc<Caller>) -> Result<Self, Error> {
        file.touch(Instant::now());
        let turn = async {
            let writer = file.writer.clone().lock_owned().await;
            (writer, file.among_workloads().lock_owned().await)
        };
        let turn = timeout(WAIT_MAX, turn).await;
        let (mut writer, among_workloads) = turn.map_err(|_| locked())?;
        let running = file.may_run().await?;
        let opening = file.clone();
        let held = blocking(move || {
            let _running = running;
            opening.open_writer(&mut writer).map_err(failure)?;
            let mut held = OpenTransaction {
                writer,
                _among_workloads: among_workloads,
            };
            held.connection()?
                .host(HostStatement::Begin)
                .map_err(failure)?;
            Ok(held)
        });
        let shared = Arc::new(SharedTransaction {
            state: Mutex::new(State {
                held: Some(held.await?),
                used: Instant::now(),
                over: false,
            }),
            began: Instant::now(),
        });
        tokio::spawn(end_in_time(Arc::downgrade(&shared)));
        Ok(Self {
            shared,
            file: file.clone(),
            caller: caller.clone(),
        })
    }

    pub(in crate::guest::sql) async fn query(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<RowSet, Error> {
        let statement = Statement::new(statement, parameters, Some(ANSWER));
        self.run(statement).await.map(row_set)
    }

    pub(in crate::guest::sql) async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, Error> {
        let statement = Statement::new(statement, parameters, None);
        self.run(statement).await.map(|rows| rows.changed)
    }

    pub(in crate::guest::sql) async fn commit(self) -> Result<(), Error> {
        let mut held = self.shared.take()?;
        let running = self.file.may_run().await?;
        blocking(move || {
            let _running = running;
            held.connection()?
                .host(HostStatement::Commit)
                .map_err(failure)
        })
        .await
    }

    pub(in crate::guest::sql) async fn rollback(self) -> Result<(), Error> {
        let held = self.shared.take()?;
        blocking(move || {
            drop(held);
            Ok(())
        })
        .await
    }

    async fn run(&mut self, statement: Statement) -> Result<sqlite::Rows, Error> {
        self.file.touch(Instant::now());
        let running = self.file.may_run().await?;
        let mut held = self.shared.take()?;
        let (waiting, abandoned) = Waiting::begin();
        let (file, caller) = (self.file.clone(), self.caller.clone());
        let until = self.shared.began + TRANSACTION_MAX;
        let (held, done) = blocking(move || {
            let _running = running;
            let watch = caller.watch(&abandoned, &file.stopping, until);
            let done = statement.run(held.connection()?, Kind::Writer, watch);
            Ok((held, done))
        })
        .await?;
        drop(waiting);
        self.shared.give_back(held);
        done.map_err(failure)
    }
}

impl OpenTransaction {
    fn connection(&mut self) -> Result<&mut Connection, Error> {
        let gone = || Error::Unavailable("the connection was closed".into());
        self.writer.as_mut().ok_or_else(gone)
    }

    fn is_open(&self) -> bool {
        self.writer.as_ref().is_some_and(|it| !it.is_autocommit())
    }
}

impl SharedTransaction {
    fn take(&self) -> Result<OpenTransaction, Error> {
        self.state().held.take().ok_or_else(|| {
            Error::Unavailable(format!(
                "the transaction was rolled back: one of its statements was aborted, or it was open for \
                 more than {} s, or unused for {} s; begin a new one",
                TRANSACTION_MAX.as_secs(),
                IDLE_MAX.as_secs()
            ))
        })
    }

    /// After an interrupted write or on a full disk, SQLite has rolled the transaction back, so
    /// it has ended.
    fn give_back(&self, held: OpenTransaction) {
        let mut state = self.state();
        state.used = Instant::now();
        match held.is_open() {
            true => state.held = Some(held),
            false => state.over = true,
        }
    }

    /// The deadline of the transaction. None after it has ended.
    fn ends_at(&self) -> Option<Instant> {
        let state = self.state();
        let idle = state.used + IDLE_MAX;
        (!state.over).then(|| idle.min(self.began + TRANSACTION_MAX))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Takes the connection back at the deadline.
async fn end_in_time(shared: Weak<SharedTransaction>) {
    loop {
        let Some(ends) = shared.upgrade().and_then(|shared| shared.ends_at()) else {
            return;
        };
        // The running statement holds the connection, and ends by itself.
        let soon = Instant::now() + Duration::from_millis(50);
        tokio::time::sleep_until(ends.max(soon).into()).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let is_due = shared.ends_at().is_some_and(|ends| ends <= Instant::now());
        let held = match is_due {
            true => shared.state().held.take(),
            false => None,
        };
        if let Some(held) = held {
            shared.state().over = true;
            // Rolling back cannot fail in a way that matters here.
            let _ = tokio::task::spawn_blocking(move || drop(held)).await;
        }
    }
}
