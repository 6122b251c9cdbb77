//! The typed resources: what is left of a manifest once it has been read.
//!
//! Field names are Kubernetes' and Istio's. Defaults are already filled in;
//! what a manifest may leave open and the mesh decides stays an `Option`.

mod authentication;
mod authorization;
mod autoscaler;
mod canary;
mod controllers;
mod disruption_budget;
mod gateway_api;
mod gateway_topology;
mod guest_options;
mod header_format;
mod job;
mod mesh_config;
mod network_policy;
mod networking;
mod node;
mod object;
mod quota;
mod rate_limit;
mod schedule;
mod server_tls;
mod sidecar;
mod tls_route;
mod workload;
mod written;

pub use authentication::*;
pub use authorization::*;
pub use autoscaler::*;
pub use canary::*;
pub use controllers::*;
pub use disruption_budget::*;
pub use gateway_api::*;
pub use gateway_topology::*;
pub use guest_options::*;
pub use header_format::{HeaderPart, Operator, header_parts};
pub use job::*;
pub use mesh_config::*;
pub use network_policy::*;
pub use networking::*;
pub use node::*;
pub use object::*;
pub use quota::*;
pub use rate_limit::*;
pub use schedule::Schedule;
pub(crate) use schedule::Times;
pub use server_tls::*;
pub use sidecar::*;
pub use tls_route::*;
pub use workload::*;
