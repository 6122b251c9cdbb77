//! Ends requests that do not end by themselves: a pod's guest is killed after its grace
//! period, as a container is.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Observes the kill on behalf of one response body.
pub(super) struct Kill {
    token: CancellationToken,
    /// Created when it is first polled to wait, which most bodies never are.
    wait: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Kill {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, wait: None }
    }

    /// Ready when the guest has been killed.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let token = &self.token;
        let wait = self
            .wait
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        wait.poll_unpin(context)
    }
}
