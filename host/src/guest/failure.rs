//! Why a guest returned no response.

use std::sync::Arc;

use super::limits::MemoryLimitReached;

/// The failure of one request in one guest. It says who is to blame, so that the mesh can
/// choose the status, the flag and whether to retry.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// All instances are busy and the queue is full. The request did not reach the guest.
    #[error("every instance is busy and the queue is full")]
    Overflow,
    /// The guest trapped. The text is wasmtime's, with the guest's backtrace.
    #[error("the guest trapped: {0}")]
    Trap(Arc<str>),
    /// The memory limit of the pod, or of all pods, was reached.
    #[error("{0}")]
    OutOfMemory(MemoryLimitReached),
    /// The pod exceeded a limit on its storage.
    #[error("{0}")]
    Evicted(Arc<str>),
    /// There was no response before the deadline.
    #[error("the guest took too long")]
    Deadline,
    /// The guest returned an error or nothing instead of a response.
    #[error("the guest returned no response: {0}")]
    NoResponse(Arc<str>),
    /// The client did not send or read for too long.
    #[error("the client sent or read nothing for too long")]
    Stalled,
    /// The client was slow, and other requests needed the instance.
    #[error("the client was slow, and other requests waited for the instance")]
    Ousted,
    /// The pod's grace period ended.
    #[error("killed after the grace period")]
    Killed,
    /// An instance could not be created. The request did not reach the guest.
    #[error("cannot create an instance: {0}")]
    Start(Arc<str>),
}

impl Failure {
    /// A short name for metrics and the pod's status, in the style of Kubernetes.
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

    /// Whether an instance ended, or could not be created.
    pub(crate) fn ends_instance(&self) -> bool {
        !matches!(
            self,
            Self::Overflow | Self::NoResponse(_) | Self::Stalled | Self::Ousted | Self::Killed
        )
    }

    /// Converts the error of a call.
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
