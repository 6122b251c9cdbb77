//! Writes to one file, one after the other. Concurrent writes share a transaction, because a
//! commit waits for the disk, and waiting once is enough for all of them. While a transaction
//! is committed, the next writes queue; one thread executes the queue until it is empty, so a
//! write costs one hand-over to that thread and back, and under load less. None is answered
//! before its commit. Guests whose writes were committed together often write again soon, so
//! the next commit waits for them a moment.
//!
//! A statement that fails does not affect the others, because each has a savepoint. An
//! interrupted write or a full disk rolls back the whole transaction, and so does a constraint
//! that is checked at the commit; then each statement runs again in its own transaction.

mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use galleria_sqlite::{self as sqlite, Connection, HostStatement, Rows, Watch};
use parking_lot::MutexGuard;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::caller::{AbandonFlag, Caller, STATEMENT_MAX, Waiting};
use super::file::{File, WAIT_MAX, locked};
use super::work::{Outcome, Work, end_transaction};
use super::{Error, failure};
use turn::Turn;

/// The maximum length of a file's queue: several times the number of instances that a pod can
/// have.
const QUEUE_MAX: usize = 1_024;

/// The maximum number of writes in a transaction. More save little and delay the first ones.
const BATCH_MAX: usize = 64;

/// How long a commit waits for further writes. It takes about as long, on a fast disk.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// The writes of a file that have not been started.
#[derive(Default)]
pub(in crate::guest::sql) struct Queue {
    items: VecDeque<Item>,
    /// Whether a task or a thread executes the queue until it is empty.
    is_served: bool,
    /// The number of writes that the thread waits for.
    wanted: Option<usize>,
}

/// Work in the queue.
struct Item {
    work: Work,
    caller: Arc<Caller>,
    abandoned: AbandonFlag,
    queued: Instant,
    reply: oneshot::Sender<Outcome>,
}

impl File {
    /// Runs a statement that writes, after those that were queued before it.
    pub(super) async fn write(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        work: Work,
    ) -> Result<Rows, Error> {
        let now = Instant::now();
        self.touch(now);
        let (waiting, abandoned) = Waiting::begin();
        let (reply, mut answer) = oneshot::channel();
        let item = Item {
            work,
            caller: caller.clone(),
            abandoned,
            queued: now,
            reply,
        };
        let is_served = {
            let mut queue = self.queue();
            if queue.items.len() >= QUEUE_MAX {
                return Err(locked());
            }
            queue.items.push_back(item);
            if queue
                .wanted
                .is_some_and(|wanted| queue.items.len() >= wanted)
            {
                queue.wanted = None;
                self.gathered.notify_one();
            }
            std::mem::replace(&mut queue.is_served, true)
        };
        if !is_served {
            Turn::new(self.clone()).take_or_wait();
        }
        let answered = match timeout(WAIT_MAX, &mut answer).await {
            Ok(answered) => answered,
            Err(_) if self.withdraw(&waiting) => return Err(self.reason_to_wait()),
            // It is being executed.
            Err(_) => answer.await,
        };
        drop(waiting);
        match answered {
            Ok(done) => done.map_err(failure),
            Err(_) => Err(Error::Unavailable("the host is stopping".into())),
        }
    }

    /// Removes a write that has not been started from the queue.
    fn withdraw(&self, waiting: &Waiting) -> bool {
        let mut queue = self.queue();
        let before = queue.items.len();
        queue.items.retain(|item| !waiting.is_for(&item.abandoned));
        queue.items.len() < before
    }

    /// Fails the writes that have not been started.
    fn abandon_queue(&self) {
        let mut queue = self.queue();
        queue.is_served = false;
        queue.items.clear();
    }

    /// Executes the beginning of the queue in one transaction. Returns the number of writes; if
    /// there were none, nothing executes the queue any more.
    fn write_batch(&self, writer: &mut Option<Connection>) -> usize {
        let items: Vec<_> = {
            let mut queue = self.queue();
            if queue.items.is_empty() {
                queue.is_served = false;
                return 0;
            }
            let count = queue.items.len().min(BATCH_MAX);
            queue.items.drain(..count).collect()
        };
        let count = items.len();
        match self.open_writer(writer) {
            Ok(connection) => self.commit_together(connection, items),
            Err(error) => {
                for item in items {
                    item.answer(Err(error.clone()));
                }
            }
        }
        count
    }

    /// Waits a moment until the guests whose writes were answered have written again.
    fn gather(&self, answered: usize) {
        if answered < 2 {
            return;
        }
        let until = Instant::now() + GATHER_MAX;
        let mut queue = self.queue();
        let wanted = (queue.items.len() + answered).min(BATCH_MAX);
        if queue.items.len() < wanted {
            queue.wanted = Some(wanted);
        }
        while queue.wanted.is_some() {
            if self.gathered.wait_until(&mut queue, until).timed_out() {
                queue.wanted = None;
            }
        }
    }

    fn commit_together(&self, connection: &mut Connection, mut items: Vec<Item>) {
        items.retain(|item| !item.abandoned.load(Ordering::Relaxed));
        if items.len() < 2 || connection.host(HostStatement::Begin).is_err() {
            for item in items {
                self.run_alone(connection, item);
            }
            return;
        }
        let mut done: Vec<(Item, Outcome)> = Vec::with_capacity(items.len());
        let mut items = items.into_iter();
        for item in items.by_ref() {
            let outcome = self.run_saved(connection, &item);
            done.push((item, outcome));
            if connection.is_autocommit() {
                break;
            }
        }
        let committed =
            !connection.is_autocommit() && connection.host(HostStatement::Commit).is_ok();
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
        connection.host(HostStatement::Savepoint)?;
        let done = item.work.run(connection, self.watch(item));
        if connection.is_autocommit() {
            return done;
        }
        if done.is_err() {
            connection.host(HostStatement::RollbackToSavepoint)?;
        }
        connection.host(HostStatement::Release)?;
        done
    }

    fn run_alone(&self, connection: &mut Connection, item: Item) {
        let outcome = item.work.run_alone(connection, self.watch(&item));
        item.answer(outcome);
    }

    fn watch(&self, item: &Item) -> Watch {
        let until = item.queued + WAIT_MAX + STATEMENT_MAX;
        item.caller.watch(&item.abandoned, &self.stopping, until)
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue().items.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Item {
    fn answer(self, outcome: Outcome) {
        // The receiver is gone if nothing waits for the result any more.
        let _ = self.reply.send(outcome);
    }
}
