//! The mesh: from resources to an immutable snapshot, and every decision on it.
//!
//! [`compile`] turns Kubernetes and Istio resources, and the pods there are,
//! into a [`Snapshot`]. [`Snapshot::route`] decides a request: either the mesh
//! answers itself ([`LocalReply`]) or it is forwarded ([`Forward`]) to a
//! [`Cluster`], which admits it, picks an endpoint for each try and learns how
//! the try ended. The host does what is decided; this crate does nothing.
//!
//! The rules it keeps: no I/O, no sockets, no environment; time and randomness
//! are passed in. A snapshot never changes; what has to be remembered between
//! snapshots is in [`State`]. `explain` and `route` share one matching code.
//!
//! A call, in short:
//!
//! ```text
//! normalise_path → Snapshot::route → Reply
//!                                  → Forward → fault → acquire().await → apply_request
//!                                      ┌→ hash, pick → (the host calls) → Picked::record
//!                                      └─ retry_policy().decide ─┘  → apply_response
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests bring their own clock and randomness"
    )
)]

mod admit;
mod balance;
mod cluster;
mod compile;
mod condition;
mod cors;
mod count;
pub mod edge;
mod eject;
mod explain;
mod fault;
mod flags;
mod forward;
mod hash;
mod headers;
mod listener;
mod outcome;
mod path;
mod query;
mod redirect;
mod reply;
mod request;
mod retry;
mod rewrite;
mod route;
mod rule;
mod snapshot;
mod state;
mod status;
mod virtual_host;
mod workload;

pub use admit::{Admission, RequestPermit, RetryPermit};
pub use cluster::{CallerKey, Cluster, Endpoint, EndpointId, PickContext, Picked, Target};
pub use compile::{Compiled, compile};
pub use count::{Breaker, ClientReport};
pub use eject::Ejection;
pub use explain::{
    BlockStep, ConditionStep, DestinationStep, EndpointStep, Explanation, FaultStep, LimitStep,
    ListenerStep, MirrorStep, Place, Reference, ReplyStep, RetryStep, RuleStep,
};
pub use fault::FaultPlan;
pub use flags::ResponseFlags;
pub use forward::{Decided, Decision, Forward, MirrorForward};
pub use listener::{Listener, ListenerServer, ListenerTls};
pub use outcome::{Failure, Outcome};
pub use path::normalise_path;
pub use reply::LocalReply;
pub use request::{Caller, RequestHead};
pub use retry::{RetryDecision, RetryPolicy};
pub use rule::RouteId;
pub use snapshot::Snapshot;
pub use state::State;
pub use status::{DestinationStatus, RouteStatus, RuleStatus, ServiceStatus};
pub use workload::{InboundPort, Location, ObjectRef, Options, OutboundPolicy, Pod, Workload};
