//! The mesh: from resources to an immutable snapshot, and every decision based on it.
//!
//! The modules follow a request:
//!
//! | module | purpose |
//! | --- | --- |
//! | [`edge`] | the head of a request from outside, before the mesh trusts it |
//! | `decide` | the decision about a request: listener, host, rule, destination |
//! | `traffic` | what happens between a decision and its endpoints: limits, load balancing, outlier detection, retries |
//! | `drive` | the protocol of one call: [`Driver`] |
//! | [`grpc`] | what the mesh reads of gRPC's requests |
//! | [`inbound`] | the destination side of a call: the caller, and whether the call is allowed |
//! | `outside` | which addresses a connection to a server outside may use |
//! | `compile` | compiles Kubernetes and Istio resources, and the existing pods, into a [`Snapshot`] |
//!
//! [`Snapshot::decide`] decides a request: either the mesh answers itself
//! ([`LocalReply`]), or the request is forwarded ([`Forward`]) to a [`Cluster`], which
//! admits it and picks an endpoint for each attempt. [`Driver`] keeps the order of a call.
//! The host carries the decisions out; this crate does no I/O.
//!
//! The rules:
//!
//! - No sockets, no environment, no runtime. Time and random numbers are passed in.
//! - A snapshot never changes. What must outlive a snapshot is in [`State`].
//! - `traffic` does not use `decide`, and neither uses `compile`.
//!
//! A call, in short:
//!
//! ```text
//! edge → normalise_path → Snapshot::decide → Reply
//!                                          → Forward → Driver: fault, admission, attempts
//!                                                    → Forward::apply_response
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests bring their own clock and randomness"
    )
)]

mod compile;
mod decide;
mod drive;
pub mod edge;
mod flags;
pub mod grpc;
pub mod inbound;
mod outside;
pub mod rate_limit;
mod reply;
mod status;
mod traffic;
mod workload;

pub use compile::{CompiledMesh, compile};
pub use decide::explain::{
    AuthenticationStep, BlockStep, ConditionStep, DestinationStep, EndpointStep, Explanation,
    FaultStep, LimitStep, ListenerStep, MirrorStep, MutualTlsStep, NetworkStep, Place, Reference,
    ReplyStep, RetryStep, RuleStep, TokenStep,
};
pub use decide::fault::FaultPlan;
pub use decide::forward::{Decision, Forward, MirrorForward, RouteDecision};
pub use decide::listener::{ExposedPort, Listener, ListenerPurpose, ListenerServer, ListenerTls};
pub use decide::path::normalise_path;
pub use decide::request::{Caller, RequestHead};
pub use decide::rule::RouteId;
pub use decide::server_names::ServerNames;
pub use decide::snapshot::Snapshot;
pub use decide::substitution::CallFacts;
pub use drive::{Attempt, Driver, Step};
pub use flags::ResponseFlags;
pub use inbound::authorization::{AuthorizationStep, PolicyStep};
pub use outside::{AddressRules, RefusedAddress};
pub use reply::{ConnectionReset, LocalReply};
pub use status::{DestinationStatus, RouteStatus, RuleStatus, ServiceStatus};
pub use traffic::admit::{Admission, RequestPermit, RetryPermit};
pub use traffic::cluster::{
    CallerKey, Cluster, Endpoint, EndpointId, PickContext, PickedEndpoint, Target,
};
pub use traffic::count::{Breaker, ClientReport};
pub use traffic::eject::Ejection;
pub use traffic::outcome::{Failure, Outcome};
pub use traffic::retry::{RetryDecision, RetryPolicy};
pub use traffic::state::State;
pub use workload::{InboundPort, Location, ObjectRef, Options, OutboundPolicy, Pod, Workload};
