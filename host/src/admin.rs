//! The admin listener: the Kubernetes API of this host, for kubectl and its like.
//!
//! A request comes through TLS (`listener`), proves who asks (`access`), is
//! routed by its path (`answer`, `path`), and is answered from the store alone.
//! Nothing here knows what a kind means beyond its row in the table of kinds.
//! It only reads: what writes goes through the same door as the manifests.

mod access;
mod answer;
mod discovery;
mod failure;
mod identity;
mod kind;
mod list;
mod listener;
mod object;
mod path;
mod selector;
mod table;
mod watch;

pub(crate) use identity::kubeconfig;
pub(crate) use listener::Listener;

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::store::Store;

/// Watches at once: each is a task and a subscription, cheap but not free.
const WATCHES_MAX: usize = 1_000;

/// What answers are made from.
struct Api {
    store: Arc<Store>,
    watches: Arc<Semaphore>,
}

impl Api {
    fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        }
    }
}
