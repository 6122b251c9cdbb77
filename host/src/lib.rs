//! The host of Galleria: listeners, the call path, running guests.
//!
//! Which module may import which is listed in `docs/ARCHITECTURE.md`, and a test checks it.

#[cfg(test)]
mod architecture;

mod app;
mod cli;
mod settings;

mod active_config;
mod body;
mod call;
mod edge;
mod encryption;
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
mod filtered;
mod identity;
mod private_folder;
mod status;
mod store;
mod telemetry;
mod terminal;
mod tls;
mod topology;
mod writes;

#[cfg(test)]
#[path = "../tests/in_process/root.rs"]
mod in_process;

pub use cli::main;

/// A request inside the host, with a streaming body.
type Request = http::Request<Body>;
/// A response inside the host.
type Response = http::Response<Body>;
/// The only body type. Guests consume and produce it, so a call between two services needs
/// no conversion.
type Body = wasmtime_wasi_http::WasiBody;
