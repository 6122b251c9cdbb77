//! PostgreSQL, through tokio-postgres: a bounded pool for each workload and URL.
//!
//! A connection returns to its pool only after a statement that was seen to end and that leaves
//! no state behind; otherwise it is closed. The server rolls back the transaction of a closed
//! connection, and a statement that is still running is cancelled there. Nothing is retried,
//! because it is unknown whether a statement took effect before its connection was lost.

mod connect;
mod effect;
mod failure;
mod frames;
mod lease;
mod server;
mod session;
mod value;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts,
};

pub(super) use server::Server;

use self::effect::{Effect, Place, carry, effect};
use self::lease::Lease;
use self::session::Session;
use super::{Error, RowSet, Value};

/// How long a statement waits for a connection and for locks, the same as for SQLite.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A connection is closed after this time without use.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// One database of a server.
#[derive(Clone)]
pub(super) struct Database {
    pool: Pool<Opener>,
}

/// A transaction on its own connection. Rolled back when dropped.
pub(super) struct Transaction {
    lease: Lease,
}

impl Database {
    /// Connections are opened on demand. Requires an asynchronous runtime.
    pub(super) fn new(server: Server) -> Result<Self, Error> {
        let size = server.connections_max;
        let pool = Pool::builder(Opener(Arc::new(server)))
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        close_idle(&pool);
        Ok(Self { pool })
    }

    /// Makes sure that a connection can be opened.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.lease().await.map(drop)
    }

    /// The numbers of idle and of busy connections.
    pub(super) fn connections(&self) -> [usize; 2] {
        let status = self.pool.status();
        [
            status.available,
            status.size.saturating_sub(status.available),
        ]
    }

    /// [`Server::label`].
    pub(super) fn label(&self) -> String {
        self.pool.manager().0.label()
    }

    /// Whether the pool has connections.
    pub(super) fn is_in_use(&self) -> bool {
        self.pool.status().size > 0
    }

    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<RowSet, Error> {
        let effect = effect(statement, Place::Connection)?;
        let mut lease = self.lease().await?;
        lease.affect(effect);
        lease.query(statement, parameters).await
    }

    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, Error> {
        let effect = effect(statement, Place::Connection)?;
        let mut lease = self.lease().await?;
        lease.affect(effect);
        lease.execute(statement, parameters).await
    }

    pub(super) async fn execute_script(&self, script: &str) -> Result<(), Error> {
        carry(script)?;
        let mut transaction = self.begin().await?;
        transaction.lease.affect(Effect::Session);
        match transaction.lease.run(script).await {
            Ok(()) => transaction.commit().await,
            Err(error) => {
                // The first error is the one that is reported.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        let mut lease = self.lease().await?;
        lease.begin().await?;
        Ok(Transaction { lease })
    }

    /// Closes the idle connections, and the busy ones when they are returned.
    pub(super) fn close(&self) {
        self.pool.close();
    }

    async fn lease(&self) -> Result<Lease, Error> {
        let timeouts = Timeouts {
            wait: Some(WAIT_MAX),
            create: None,
            recycle: None,
        };
        match self.pool.timeout_get(&timeouts).await {
            Ok(session) => Ok(Lease::new(session)),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(_)) => Err(self.pool.manager().exhausted()),
            Err(_) => Err(Error::Unavailable("the host closed its connections".into())),
        }
    }
}

/// Closes idle connections for as long as the pool exists.
fn close_idle(pool: &Pool<Opener>) {
    let pool = pool.weak();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(IDLE_MAX / 2).await;
            let Some(pool) = pool.upgrade() else {
                break;
            };
            let _closed = pool.retain(|_, metrics| metrics.last_used() < IDLE_MAX);
        }
    });
}

impl Transaction {
    pub(super) async fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<RowSet, Error> {
        self.lease.affect(effect(statement, Place::Transaction)?);
        self.lease.query(statement, parameters).await
    }

    pub(super) async fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, Error> {
        self.lease.affect(effect(statement, Place::Transaction)?);
        self.lease.execute(statement, parameters).await
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.lease.commit().await
    }

    pub(super) async fn rollback(mut self) -> Result<(), Error> {
        self.lease.rollback().await
    }
}

/// A connection that returns to its pool when dropped.
type PooledSession = Object<Opener>;

/// Opens the connections of a pool.
struct Opener(Arc<Server>);

impl Opener {
    fn exhausted(&self) -> Error {
        let (place, limit) = (self.0.place(), self.0.connections_max);
        Error::Unavailable(format!(
            "none of the pool's {limit} connections to {place} became free within {} s; end transactions sooner, or set `pool_max_conns` in the URL",
            WAIT_MAX.as_secs()
        ))
    }
}

impl Manager for Opener {
    type Type = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        Session::open(self.0.clone()).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        match session.is_closed() {
            true => Err(RecycleError::message("the server closed it")),
            false => Ok(()),
        }
    }
}
