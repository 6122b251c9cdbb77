//! A connection that is logged in, and its prepared statements.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

use super::connect::{self, Stream};
use super::failure::{Trouble, login};
use super::frames::Frames;
use super::server::Server;
use super::value::{Parameter, values};
use super::wire::Wire;
use super::{Error, RowSet, Value, WAIT_MAX};
use crate::guest::sql::answer::{Answer, too_large};

/// Prepared statements of one connection. When the limit is reached, all are dropped.
const STATEMENTS_MAX: usize = 128;

/// A longer statement is not kept: it was generated, and is unlikely to be repeated.
const STATEMENT_BYTES_MAX: usize = 16 << 10;

pub(super) struct Session {
    client: Client,
    wire: Wire,
    prepared: Prepared,
    server: Arc<Server>,
    /// A message was larger than the host accepts.
    overflowed: Arc<AtomicBool>,
    /// For cancelling a statement from any thread that drops an instance.
    runtime: Handle,
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// `unavailable`, or `access-denied` if the server refuses the login.
    pub(super) async fn open(server: Arc<Server>) -> Result<Self, Error> {
        let limit = server.connect_timeout;
        let opened = timeout(limit, Self::log_in(server.clone())).await;
        opened.unwrap_or_else(|_| {
            Err(Error::Unavailable(format!(
                "no connection to {} within {} s",
                server.place(),
                limit.as_secs()
            )))
        })
    }

    async fn log_in(server: Arc<Server>) -> Result<Self, Error> {
        let stream = connect::connect(&server).await?;
        let overflowed = Arc::<AtomicBool>::default();
        let stream: Frames<Stream> = Frames::new(stream, overflowed.clone());
        let (client, connection) = server
            .config
            .connect_raw(stream, NoTls)
            .await
            .map_err(|error| login(&error, &server))?;
        let mut wire = Wire::new(connection);
        let limits = wire.run(client.batch_execute(&limits(&server))).await;
        limits.map_err(|error| login(&error, &server))?;
        Ok(Self {
            client,
            wire,
            prepared: Prepared::default(),
            server,
            overflowed,
            runtime: Handle::current(),
        })
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.server.statement_timeout
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.wire.is_closed()
    }

    pub(super) async fn query(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<RowSet, Trouble> {
        let (client, prepared) = (&self.client, &mut self.prepared);
        let work = async {
            let statement = prepared.get(client, statement, parameters.len()).await?;
            let parameters = parameters.iter().map(Parameter);
            let rows = client.query_raw(&statement, parameters).await?;
            let mut rows = pin!(rows);
            let mut answer = Answer::new();
            answer.name(statement.columns().iter().map(|column| column.name()));
            while let Some(row) = rows.try_next().await? {
                answer.push(values(&row)?)?;
            }
            Ok(answer.finish())
        };
        self.wire.run(work).await
    }

    pub(super) async fn execute(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Result<u64, Trouble> {
        let (client, prepared) = (&self.client, &mut self.prepared);
        let work = async {
            let statement = prepared.get(client, statement, parameters.len()).await?;
            let parameters = parameters.iter().map(Parameter);
            Ok(client.execute_raw(&statement, parameters).await?)
        };
        self.wire.run(work).await
    }

    /// Runs statements without parameters and ignores their rows.
    pub(super) async fn run(&mut self, script: &str) -> Result<(), Trouble> {
        let work = self.client.batch_execute(script);
        Ok(self.wire.run(work).await?)
    }

    /// Drops a prepared statement that failed because its tables, or the statement on the
    /// server, have changed since it was prepared. Returns whether it was dropped: it can then
    /// be prepared again.
    pub(super) fn forget_stale<T>(&mut self, text: &str, done: &Result<T, Trouble>) -> bool {
        let Err(Trouble::Server(error)) = done else {
            return false;
        };
        let stale = [
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INVALID_SQL_STATEMENT_NAME,
        ];
        error.code().is_some_and(|code| stale.contains(code))
            && self.prepared.0.remove(text).is_some()
    }

    /// The error for the guest.
    pub(super) fn explain(&self, trouble: Trouble) -> Error {
        if self.overflowed.load(Ordering::Relaxed) {
            return too_large();
        }
        trouble.into_error(&self.server)
    }

    /// Closes the connection, and cancels the statement that it may still be running.
    pub(super) fn abandon(self) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let cancel = async {
                let stream = connect::connect(&self.server).await.ok()?;
                let token = self.client.cancel_token();
                token.cancel_query_raw(stream, NoTls).await.ok()
            };
            // If the server cannot be reached, there is nothing left to cancel.
            let _ = timeout(self.server.connect_timeout, cancel).await;
        });
    }
}

/// The prepared statements of one connection, by their text.
#[derive(Default)]
struct Prepared(HashMap<String, Statement>);

impl Prepared {
    /// Prepares `text`, which must have this number of parameters.
    async fn get(
        &mut self,
        client: &Client,
        text: &str,
        parameters: usize,
    ) -> Result<Statement, Trouble> {
        let statement = self.prepare(client, text).await?;
        let wanted = statement.params().len();
        if wanted == parameters {
            return Ok(statement);
        }
        Err(Trouble::Mistake(Error::InvalidStatement(format!(
            "the statement has {wanted} parameters, but got {parameters}"
        ))))
    }

    async fn prepare(&mut self, client: &Client, text: &str) -> Result<Statement, Trouble> {
        if let Some(statement) = self.0.get(text) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(text).await?;
        if text.len() <= STATEMENT_BYTES_MAX {
            if self.0.len() >= STATEMENTS_MAX {
                self.0.clear();
            }
            self.0.insert(text.to_owned(), statement.clone());
        }
        Ok(statement)
    }
}

/// The server's own timeouts, in case the host disappears: for statements, and for idle
/// transactions.
fn limits(server: &Server) -> String {
    let statement = server.statement_timeout.as_millis();
    let lock = WAIT_MAX.as_millis().min(statement);
    format!(
        "SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {statement}"
    )
}
