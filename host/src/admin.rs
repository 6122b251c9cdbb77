//! The admin listener: the Kubernetes API of this host, for kubectl and its like.
//!
//! A request comes through TLS (`listener`), proves who asks (`access`), is
//! routed by its path (`answer`, `path`), and is answered from the store alone;
//! what writes (`write`, `apply`) goes through the same door as the manifests.
//! Nothing here knows what a kind means beyond its row in the table of kinds.

mod access;
mod answer;
mod apply;
mod body;
mod discovery;
mod failure;
mod identity;
mod kind;
mod list;
mod listener;
mod object;
mod openapi;
mod patch;
mod path;
mod scale;
mod selector;
mod table;
mod watch;
mod write;

pub(crate) use identity::kubeconfig;
pub(crate) use listener::Listener;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::store::{Store, Write};

/// Watches at once: each is a task and a subscription, cheap but not free.
const WATCHES_MAX: usize = 1_000;

/// What answers are made from.
struct Api {
    store: Arc<Store>,
    /// To the control loop.
    writer: mpsc::Sender<Write>,
    watches: Arc<Semaphore>,
}

impl Api {
    fn new(store: Arc<Store>, writer: mpsc::Sender<Write>) -> Self {
        Self {
            store,
            writer,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        }
    }
}
