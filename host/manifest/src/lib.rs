//! Kubernetes and Istio YAML, read into typed resources with positions.
//!
//! The rule this crate keeps: *parse, don't validate*. A resource that reaches
//! the rest of the host has been read completely, every value is of a checked
//! type, and everything that was wrong, odd or ignored is a [`Diagnostic`] with
//! file, line and column. All problems of all files are reported at once.
//!
//! What it does not do: no network, no clock, no environment, no I/O but
//! reading the files it is given, and no decision about requests (that is
//! `galleria-mesh`).

mod admission;
mod cron;
mod decode;
mod diagnostic;
mod duration;
mod files;
mod load;
mod node_ports;
mod position;
mod preset;
mod read;
mod references;
mod unenforced;
mod yaml;

pub mod codes;
pub mod kind;
pub mod limits;
pub mod model;

pub use admission::{QuotaUse, admit, quotas};
pub use diagnostic::{Code, Diagnostic, Severity, refuse_dangling};
pub use duration::duration;
pub use load::{LoadResult, load, load_for, read_json, read_str};
pub use node_ports::{
    NODE_PORTS, assign_node_ports, complete_node_ports, needs_node_ports, node_ports,
};
pub use position::{Position, WithPosition};
pub use preset::{Conflict, Preset, Presets};
pub use references::{check_references, deployments_behind};
pub use unenforced::{AllowUnenforced, Unenforced, UnknownRestriction};
pub use yaml::{yaml_documents, yaml_to_json};
