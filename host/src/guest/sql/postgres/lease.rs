//! A connection in use. Its state when dropped decides whether it returns to the pool.

use std::time::Duration;

use deadpool::managed::Object;
use tokio::time::timeout;

use super::failure::Trouble;
use super::session::Session;
use super::{Effect, Error, PooledSession, RowSet, Value};

/// The server ends a statement at its time limit. If there is no response for this long after
/// that, the server is considered dead.
const GRACE: Duration = Duration::from_secs(5);

/// A connection that is used by one guest.
pub(super) struct Lease {
    /// None after it was dropped.
    session: Option<PooledSession>,
    state: State,
    /// A statement may have left state behind.
    affected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Returns to the pool.
    Idle,
    /// Is closed, and the server rolls back.
    InTransaction,
    /// Is cancelled and closed: a statement was sent, and its end was not seen.
    Busy,
}

impl Lease {
    pub(super) fn new(session: PooledSession) -> Self {
        Self {
            session: Some(session),
            state: State::Idle,
            affected: false,
        }
    }

    pub(super) fn affect(&mut self, effect: Effect) {
        self.affected |= effect == Effect::Session;
    }

    pub(super) async fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<RowSet, Error> {
        let (before, session) = self.occupy()?;
        let limit = session.statement_timeout();
        let mut done = within(limit, session.query(statement, parameters)).await;
        if before == State::Idle && session.forget_stale(statement, &done) {
            done = within(limit, session.query(statement, parameters)).await;
        }
        self.settle(before, done)
    }

    pub(super) async fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, Error> {
        let (before, session) = self.occupy()?;
        let limit = session.statement_timeout();
        let mut done = within(limit, session.execute(statement, parameters)).await;
        if before == State::Idle && session.forget_stale(statement, &done) {
            done = within(limit, session.execute(statement, parameters)).await;
        }
        self.settle(before, done)
    }

    /// Runs a script in the transaction that was begun.
    pub(super) async fn run(&mut self, script: &str) -> Result<(), Error> {
        let (before, session) = self.occupy()?;
        let done = within(session.statement_timeout(), session.run(script)).await;
        self.settle(before, done)
    }

    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.switch("BEGIN", State::InTransaction).await
    }

    /// PostgreSQL answers COMMIT of a failed transaction with a rollback and no error. The
    /// query before it fails in that case.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        self.switch("SELECT 1; COMMIT", State::Idle).await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), Error> {
        self.switch("ROLLBACK", State::Idle).await
    }

    async fn switch(&mut self, script: &str, after: State) -> Result<(), Error> {
        let (before, session) = self.occupy()?;
        let done = within(session.statement_timeout(), session.run(script)).await;
        self.settle(before, done)?;
        self.state = after;
        Ok(())
    }

    fn occupy(&mut self) -> Result<(State, &mut Session), Error> {
        let session = self.session.as_mut().filter(|_| self.state != State::Busy);
        let Some(session) = session else {
            return Err(Error::Unavailable(
                "an earlier statement of this transaction did not finish; begin a new transaction"
                    .into(),
            ));
        };
        let before = std::mem::replace(&mut self.state, State::Busy);
        Ok((before, session))
    }

    /// Restores the state after work whose end was seen. Otherwise the connection remains busy
    /// and is closed.
    fn settle<T>(&mut self, before: State, done: Result<T, Trouble>) -> Result<T, Error> {
        let trouble = match done {
            Ok(value) => {
                self.state = before;
                return Ok(value);
            }
            Err(trouble) => trouble,
        };
        if trouble.is_over() {
            self.state = before;
        }
        Err(match self.session.as_deref() {
            Some(session) => session.explain(trouble),
            None => Error::Unavailable("the connection was closed".into()),
        })
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let limit = limit + GRACE;
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(Trouble::Silence(limit)),
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        match self.state {
            State::Idle if !self.affected => drop(session),
            State::Idle | State::InTransaction => drop(Object::take(session)),
            State::Busy => Object::take(session).abandon(),
        }
    }
}
