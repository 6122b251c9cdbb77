//! Writes: what the admin API and the command line ask the control loop to change.
//!
//! A write passes through the control loop, as a change of the files does, and is
//! applied completely or not at all. Nothing here carries a write out.

use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{Object, ObjectKey};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use crate::canary::Order;

/// Writes that wait for the control loop; further ones wait at their clients.
const PENDING_MAX: usize = 16;

/// A change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub key: ObjectKey,
    /// The object that the change was made from; `None` if there was none.
    pub from: Option<Arc<Object>>,
    /// `None` deletes the object.
    pub to: Option<Arc<Object>>,
}

/// What a write asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Changes of objects that take effect together.
    Edits { edits: Vec<Edit>, dry_run: bool },
    /// Evicts a pod; its workload replaces it.
    Evict(ObjectKey),
    /// Evicts a pod, unless a PodDisruptionBudget forbids it; with `dry_run`, only asks whether
    /// one does.
    EvictWithinBudgets { pod: ObjectKey, dry_run: bool },
    /// Changes the share of a canary.
    Canary(Order),
}

/// A command, and where its result goes.
#[derive(Debug)]
pub(crate) struct Write {
    pub command: Command,
    /// The client's span, below which the spans of the control loop are.
    pub span: Span,
    pub reply: oneshot::Sender<Result<(), WriteError>>,
}

/// Why a write has no effect.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the object was changed concurrently")]
    Changed,
    /// A PodDisruptionBudget forbids an eviction.
    #[error("the disruption budget {budget} does not allow it now")]
    Disruption { budget: String },
    /// The resulting configuration is invalid.
    #[error("{}", joined(.0))]
    Invalid(Vec<Diagnostic>),
    /// The configuration is valid, but this host cannot run it.
    #[error("{0}")]
    Impossible(String),
    /// The data folder cannot be written.
    #[error("{0}")]
    NotPersisted(String),
    /// The control loop has ended.
    #[error("{STOPPING}")]
    Stopping,
}

impl WriteError {
    /// `error.type` of its span; as in the API's responses where these have a reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Changed => "Conflict",
            Self::Disruption { .. } => "TooManyRequests",
            Self::Invalid(_) => "Invalid",
            Self::Impossible(_) => "Impossible",
            Self::NotPersisted(_) | Self::Stopping => "ServiceUnavailable",
        }
    }
}

fn joined(problems: &[Diagnostic]) -> String {
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}

/// The message to clients for [`WriteError::Stopping`].
pub(crate) const STOPPING: &str = "the host is stopping";

/// Sends writes to the control loop.
#[derive(Debug, Clone)]
pub(crate) struct Writer(mpsc::Sender<Write>);

impl Writer {
    /// A writer, and the queue that the control loop reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Write>) {
        let (sender, receiver) = mpsc::channel(PENDING_MAX);
        (Self(sender), receiver)
    }

    /// Waits until the control loop has carried out `command`.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing has changed then.
    pub(crate) async fn send(&self, command: Command) -> Result<(), WriteError> {
        let (reply, replied) = oneshot::channel();
        let span = Span::current();
        let write = Write {
            command,
            span,
            reply,
        };
        self.0.send(write).await.map_err(|_| WriteError::Stopping)?;
        replied.await.map_err(|_| WriteError::Stopping)?
    }
}
