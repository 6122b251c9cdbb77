//! Starts hosts in process, calls them, and reads their log and metrics.

#[path = "../testing/answer.rs"]
mod answer;
mod client;
#[path = "../testing/components.rs"]
#[expect(clippy::disallowed_methods, reason = "the variables are for tests")]
mod components;
mod host;
mod log;
#[path = "../testing/manifests.rs"]
#[expect(dead_code, reason = "the other layer uses the rest")]
mod manifests;

pub use answer::Answer;
pub use client::Client;
pub use host::Host;
pub use manifests::{Service, manifests};

use std::time::Duration;

/// How long a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two questions about something that announces no change.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Calls `ask` until it returns a value; panics with `what` after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    answered.unwrap_or_else(|_| panic!("timed out waiting until {what}"))
}
