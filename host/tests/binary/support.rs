//! Starts hosts, calls them, and reads their output.

mod accounts;
#[path = "../testing/answer.rs"]
mod answer;
pub mod apart;
mod collector;
#[path = "../testing/components.rs"]
mod components;
mod grpc;
mod host;
mod kubectl;
#[path = "../testing/manifests.rs"]
mod manifests;
mod mesh_authority;
mod postgresql;
mod prometheus;
mod registry;

pub use accounts::with_accounts;
pub use answer::Answer;
pub use collector::{Collector, SpanRecord};
pub use components::{shop_components, test_components};
pub use grpc::{GrpcServer, Method};
pub use host::{Galleria, Host, Output};
pub use kubectl::{kubeconfig, kubectl, kubectl_fed, kubectl_with, refused, refused_fed};
pub use manifests::{Service, manifests};
pub use mesh_authority::{Identity, MeshAuthority};
pub use postgresql::{HOST as POSTGRESQL_HOST, Postgresql};
pub use prometheus::Prometheus;
pub use registry::{PASSWORD, Registry, USER};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Sets a flag when it is dropped, also during a panic, so that threads that check the
/// flag end.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `ask` until it returns a value; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
