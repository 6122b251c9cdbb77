//! The admin listener: the Kubernetes API of this host, for kubectl and other clients.
//!
//! A request arrives over TLS (`listener`), is authorized by its token (`access`) and
//! routed by its path (`path`, `answer`). Reads are answered from the store; writes
//! (`write`, `apply`) go through the same control loop as the manifests. Both are logged as
//! a policy says (`audit`). Kinds are
//! treated alike, as their rows in the table of kinds say.

mod access;
mod answer;
mod apply;
mod audit;
mod body;
mod bounds;
mod discovery;
mod eviction;
mod failure;
mod flag;
mod form;
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

pub(crate) use audit::Audit;
pub(crate) use identity::kubeconfig;
pub(crate) use listener::Listener;
pub(crate) use threads::Threads;

use std::sync::Arc;

use galleria_manifest::AllowUnenforced;
use tokio::sync::Semaphore;

use crate::store::Store;
use crate::workload::{Logs, PodRegistry};
use crate::writes::Writer;
use usage::Usage;

/// Concurrent watches and followed logs: each is a task and a subscription.
const WATCHES_MAX: usize = 1_000;

/// Where the API reads from and writes to.
pub(crate) struct Sources {
    pub store: Arc<Store>,
    pub logs: Arc<Logs>,
    pub pods: Arc<PodRegistry>,
    pub writer: Writer,
    /// Restrictions that objects may have although the host does not enforce them.
    pub allowed: AllowUnenforced,
}

/// The state that all requests share.
struct Api {
    store: Arc<Store>,
    logs: Arc<Logs>,
    usage: Arc<Usage>,
    pods: Arc<PodRegistry>,
    writer: Writer,
    allowed: AllowUnenforced,
    watches: Arc<Semaphore>,
}

impl Api {
    fn new(sources: Sources) -> Self {
        Self {
            store: sources.store,
            logs: sources.logs,
            usage: Usage::start(sources.pods.clone()),
            pods: sources.pods,
            writer: sources.writer,
            allowed: sources.allowed,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        }
    }
}
