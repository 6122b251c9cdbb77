//! The admin listener: the Kubernetes API of this host, for kubectl and its like.
//!
//! A request comes through TLS (`listener`), proves who asks (`access`), is
//! routed by its path (`answer`, `path`), and is answered from the store alone;
//! what writes (`write`, `apply`) goes through the same control loop as the manifests.
//! Nothing here knows what a kind means beyond its row in the table of kinds.

mod access;
mod answer;
mod apply;
mod body;
mod bounds;
mod discovery;
mod failure;
mod forward;
mod identity;
mod kind;
mod list;
mod listener;
mod log;
mod object;
mod openapi;
mod patch;
mod path;
mod review;
mod scale;
mod selector;
mod table;
mod threads;
mod usage;
mod watch;
mod write;

pub(crate) use identity::kubeconfig;
pub(crate) use listener::Listener;
pub(crate) use threads::Threads;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::status::HostStatus;
use crate::store::{Store, Write};
use crate::workload::Logs;
use usage::Usage;

/// Watches at once: each is a task and a subscription, cheap but not free.
const WATCHES_MAX: usize = 1_000;

/// What the API shows, and where what it is told goes.
pub(crate) struct Sources {
    pub store: Arc<Store>,
    pub logs: Arc<Logs>,
    pub health: Arc<HostStatus>,
    /// To the control loop.
    pub writer: mpsc::Sender<Write>,
}

/// What answers are made from.
struct Api {
    store: Arc<Store>,
    logs: Arc<Logs>,
    usage: Arc<Usage>,
    health: Arc<HostStatus>,
    writer: mpsc::Sender<Write>,
    watches: Arc<Semaphore>,
}

impl Api {
    fn new(sources: Sources) -> Self {
        Self {
            store: sources.store,
            logs: sources.logs,
            usage: Usage::start(sources.health.clone()),
            health: sources.health,
            writer: sources.writer,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        }
    }
}
