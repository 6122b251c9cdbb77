//! The host of Galleria: listeners, the call path, running guests.
//!
//! Modules stand in the order in which a request meets them.

mod context;
mod guest;

pub use context::{RequestContext, TraceContext};

/// A request inside the host: the body streams, wherever it comes from.
pub type Request = http::Request<Body>;
/// A response inside the host.
pub type Response = http::Response<Body>;
/// The one body type: what guests take and give, so that a call between two
/// services needs no conversion.
pub type Body = wasmtime_wasi_http::WasiBody;
