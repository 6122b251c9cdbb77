//! The end of a connection that speaks the protocol. The task that runs a statement polls it,
//! so a statement wakes one task once, when its result arrives. In a task of its own, it would
//! be woken for the statement and for the result, and then wake the task that waits.
//!
//! Between statements nothing polls it: what the server sends is read at the next use.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio_postgres::Connection;
use tokio_postgres::tls::NoTlsStream;

use super::connect::Stream;
use super::frames::Frames;

/// `None` after the connection has ended; its client then fails.
pub(super) struct Wire(Option<Box<Connection<Frames<Stream>, NoTlsStream>>>);

impl Wire {
    pub(super) fn new(connection: Connection<Frames<Stream>, NoTlsStream>) -> Self {
        Self(Some(Box::new(connection)))
    }

    /// Runs `work`, which waits for nothing but the client of this connection.
    pub(super) async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            // It progresses only when the connection does, which wakes this task.
            let mut unwoken = Context::from_waker(Waker::noop());
            if let Poll::Ready(done) = work.as_mut().poll(&mut unwoken) {
                return Poll::Ready(done);
            }
            self.poll(context);
            work.as_mut().poll(&mut unwoken)
        })
        .await
    }

    /// Whether the server has closed the connection.
    pub(super) fn is_closed(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.0.is_none()
    }

    /// Notices and notifications are discarded, and not logged.
    fn poll(&mut self, context: &mut Context<'_>) {
        while let Some(connection) = &mut self.0 {
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => self.0 = None,
                Poll::Pending => return,
            }
        }
    }
}
