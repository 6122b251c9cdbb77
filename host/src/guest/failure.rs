//! Why a guest gave no response.

use std::sync::Arc;

use super::limits::MemoryLimitReached;

/// What went wrong with one request in one guest. Says who is to blame, so that
/// the mesh can choose status, flag and whether to try elsewhere.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// Every instance is busy and the queue is full: the request never reached the guest.
    #[error("every instance is busy and the queue is full")]
    Overflow,
    /// The guest trapped; the text is wasmtime's, with the guest's backtrace.
    #[error("the guest trapped: {0}")]
    Trap(Arc<str>),
    /// The pod's memory limit was reached, or that of all pods together.
    #[error("{0}")]
    OutOfMemory(MemoryLimitReached),
    /// The pod wrote more than it may.
    #[error("{0}")]
    Evicted(Arc<str>),
    /// No response within the time allowed.
    #[error("the guest took too long")]
    Deadline,
    /// The guest returned an error instead of a response, or nothing at all.
    #[error("the guest returned no response: {0}")]
    NoResponse(Arc<str>),
    /// The client sent or read nothing for too long.
    #[error("the client sent or read nothing for too long")]
    Stalled,
    /// The client was slow, and other requests waited for the instance.
    #[error("the client was slow, and other requests waited for the instance")]
    Ousted,
    /// The pod's grace period was over.
    #[error("killed after the grace period")]
    Killed,
    /// An instance could not be made: the request never reached the guest.
    #[error("cannot create an instance: {0}")]
    Start(Arc<str>),
}

impl Failure {
    /// A short name for metrics and pod status, as Kubernetes would call it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Overflow => "Overflow",
            Self::Trap(_) => "Error",
            Self::OutOfMemory(_) => "OOMKilled",
            Self::Evicted(_) => "Evicted",
            Self::Deadline => "DeadlineExceeded",
            Self::NoResponse(_) => "NoResponse",
            Self::Stalled => "ClientStalled",
            Self::Ousted => "ClientOusted",
            Self::Killed => "Killed",
            Self::Start(_) => "StartError",
        }
    }

    /// Whether the guest ended with it: an instance is gone, or never came to be.
    pub(crate) fn ends_instance(&self) -> bool {
        !matches!(
            self,
            Self::Overflow | Self::NoResponse(_) | Self::Stalled | Self::Ousted | Self::Killed
        )
    }

    /// Reads what wasmtime says when a call ends badly.
    pub(super) fn from_call(error: &wasmtime::Error) -> Self {
        if let Some(reached) = error.downcast_ref::<MemoryLimitReached>() {
            Self::OutOfMemory(*reached)
        } else if error
            .downcast_ref::<super::deadline::DeadlinePassed>()
            .is_some()
        {
            Self::Deadline
        } else {
            Self::Trap(format!("{error:?}").into())
        }
    }
}
