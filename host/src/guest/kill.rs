//! The end of requests that do not end by themselves: after its grace period a
//! pod's guest is killed, as a container is.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// One response body's ear for the kill.
pub(super) struct Kill {
    token: CancellationToken,
    /// Made when it is first waited for: most bodies never wait.
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Kill {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, wait: None }
    }

    /// Ready when the guest was killed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let token = &self.token;
        let wait = self
            .wait
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        wait.poll_unpin(context)
    }
}
