//! Writes to one file, one after the other. Concurrent writes share a transaction, because a
//! commit waits for the disk, and waiting once is enough for all of them. The task that finds
//! the connection free executes the queued writes; none is answered before the commit.
//!
//! A statement that fails does not affect the others, because each has a savepoint. An
//! interrupted write or a full disk rolls back the whole transaction, and so does a constraint
//! that is checked at the commit; then each statement runs again by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use galleria_sqlite::{self as sqlite, AnswerLimits, Connection, Kind, Rows, Watch};
use parking_lot::MutexGuard;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use super::caller::{AbandonFlag, Caller, STATEMENT_MAX, Waiting};
use super::file::{File, WAIT_MAX, blocking, locked};
use super::{Error, Value, failure, into_sqlite};

/// The maximum length of a file's queue: several times the number of instances that a pod can
/// have.
const QUEUE_MAX: usize = 1_024;

/// The maximum number of writes in a transaction. More save little and delay the first ones.
const BATCH_MAX: usize = 64;

/// The work that a guest requests.
pub(in crate::guest::sql) enum Work {
    Statement {
        text: String,
        parameters: Vec<sqlite::Value>,
        answer: Option<AnswerLimits>,
    },
    Script(String),
}

/// Work in the queue.
pub(in crate::guest::sql) struct Item {
    work: Work,
    caller: Arc<Caller>,
    abandoned: AbandonFlag,
    until: Instant,
    reply: oneshot::Sender<Outcome>,
}

type Outcome = Result<Rows, sqlite::Error>;
type Writer = OwnedMutexGuard<Option<Connection>>;

impl Work {
    pub(super) fn statement(
        text: &str,
        parameters: Vec<Value>,
        answer: Option<AnswerLimits>,
    ) -> Self {
        Self::Statement {
            text: text.to_owned(),
            parameters: parameters.into_iter().map(into_sqlite).collect(),
            answer,
        }
    }

    pub(super) fn run(&self, connection: &mut Connection, kind: Kind, watch: Watch) -> Outcome {
        match self {
            Self::Statement {
                text,
                parameters,
                answer,
            } => connection.run(kind, text, parameters, *answer, watch),
            Self::Script(script) => connection
                .run_script(script, watch)
                .map(|()| Rows::default()),
        }
    }

    /// Runs in a transaction of its own.
    fn run_alone(&self, connection: &mut Connection, watch: Watch) -> Outcome {
        match self {
            // SQLite begins one implicitly.
            Self::Statement { .. } => self.run(connection, Kind::Writer, watch),
            Self::Script(_) => {
                connection.host("begin immediate")?;
                let done = self.run(connection, Kind::Writer, watch);
                let done = done.and_then(|rows| connection.host("commit").map(|()| rows));
                end_transaction(connection);
                done
            }
        }
    }
}

/// Rolls back a transaction that is still open.
pub(super) fn end_transaction(connection: &mut Connection) {
    if !connection.is_autocommit() && connection.host("rollback").is_err() {
        tracing::error!("cannot roll back a SQLite transaction");
    }
}

impl File {
    /// Runs a statement that writes, after those that were queued before it.
    pub(super) async fn write(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        work: Work,
    ) -> Result<Rows, Error> {
        self.touch();
        let (waiting, abandoned) = Waiting::begin();
        let (reply, mut answer) = oneshot::channel();
        let item = Item {
            work,
            caller: caller.clone(),
            abandoned: abandoned.clone(),
            until: Instant::now() + WAIT_MAX + STATEMENT_MAX,
            reply,
        };
        {
            let mut queue = self.queue();
            if queue.len() >= QUEUE_MAX {
                return Err(locked());
            }
            queue.push_back(item);
        }
        let answered = loop {
            tokio::select! {
                biased;
                answered = &mut answer => break answered,
                writer = timeout(WAIT_MAX, self.writer.clone().lock_owned()) => match writer {
                    // The queue may have contained more than fits into one transaction.
                    Ok(writer) => self.write_queued(writer).await?,
                    Err(_) if self.withdraw(&abandoned) => return Err(locked()),
                    // Another task is executing it.
                    Err(_) => break answer.await,
                },
            }
        };
        drop(waiting);
        match answered {
            Ok(done) => done.map_err(failure),
            Err(_) => Err(Error::Unavailable("the host is stopping".into())),
        }
    }

    /// Executes the queue, including the caller's own work.
    async fn write_queued(self: &Arc<Self>, writer: Writer) -> Result<(), Error> {
        let running = self.may_run().await?;
        let items = {
            let mut queue = self.queue();
            let count = queue.len().min(BATCH_MAX);
            queue.drain(..count).collect::<Vec<_>>()
        };
        let file = self.clone();
        blocking(move || {
            let (mut writer, _running) = (writer, running);
            match file.open_writer(&mut writer) {
                Ok(()) => {}
                Err(error) => {
                    for item in items {
                        item.answer(Err(error.clone()));
                    }
                    return Ok(());
                }
            }
            if let Some(connection) = &mut *writer {
                file.commit_together(connection, items);
            }
            Ok(())
        })
        .await
    }

    /// Removes work that has not been started from the queue.
    fn withdraw(&self, abandoned: &AbandonFlag) -> bool {
        let mut queue = self.queue();
        let before = queue.len();
        queue.retain(|item| !Arc::ptr_eq(&item.abandoned, abandoned));
        queue.len() < before
    }

    fn commit_together(&self, connection: &mut Connection, mut items: Vec<Item>) {
        items.retain(|item| !item.abandoned.load(Ordering::Relaxed));
        if items.len() < 2 || connection.host("begin immediate").is_err() {
            for item in items {
                self.run_alone(connection, item);
            }
            return;
        }
        let mut done: Vec<(Item, Outcome)> = Vec::new();
        let mut items = items.into_iter();
        for item in items.by_ref() {
            let outcome = self.run_saved(connection, &item);
            done.push((item, outcome));
            if connection.is_autocommit() {
                break;
            }
        }
        let committed = !connection.is_autocommit() && connection.host("commit").is_ok();
        end_transaction(connection);
        for (item, outcome) in done {
            match outcome {
                Ok(_) if !committed => self.run_alone(connection, item),
                // The other statements may have used up the space that it needed.
                Err(sqlite::Error::Unavailable(_)) if !committed => {
                    self.run_alone(connection, item);
                }
                outcome => item.answer(outcome),
            }
        }
        for item in items {
            self.run_alone(connection, item);
        }
    }

    /// Runs within the transaction of several writes.
    fn run_saved(&self, connection: &mut Connection, item: &Item) -> Outcome {
        connection.host("savepoint item")?;
        let done = item.work.run(connection, Kind::Writer, self.watch(item));
        if connection.is_autocommit() {
            return done;
        }
        match done {
            Ok(rows) => connection.host("release item").map(|()| rows),
            Err(error) => {
                connection.host("rollback to item; release item")?;
                Err(error)
            }
        }
    }

    fn run_alone(&self, connection: &mut Connection, item: Item) {
        let outcome = item.work.run_alone(connection, self.watch(&item));
        item.answer(outcome);
    }

    fn watch(&self, item: &Item) -> Watch {
        item.caller
            .watch(&item.abandoned, &self.stopping, item.until)
    }

    fn queue(&self) -> MutexGuard<'_, std::collections::VecDeque<Item>> {
        self.queue.lock()
    }
}

impl Item {
    fn answer(self, outcome: Outcome) {
        // The receiver is gone if nothing waits for the result any more.
        let _ = self.reply.send(outcome);
    }
}
