//! The host of Galleria: listeners, the call path, running guests.
//!
//! Modules stand in the order in which things happen: the command line, the
//! composition, then the way of a request, then what stands beside it.

mod app;
mod cli;
mod settings;

mod active_config;
mod body;
mod call;
mod edge;
mod guest;
mod listen;
mod outbound;
mod remote;
mod workload;

mod admin;
mod canary;
mod causes;
mod context;
mod explain;
mod files;
mod private_folder;
mod status;
mod store;
mod telemetry;
mod terminal;
mod tls;
mod topology;
mod writes;

pub use cli::main;

/// A request inside the host: the body streams, wherever it comes from.
type Request = http::Request<Body>;
/// A response inside the host.
type Response = http::Response<Body>;
/// The one body type: what guests take and give, so that a call between two
/// services needs no conversion.
type Body = wasmtime_wasi_http::WasiBody;
