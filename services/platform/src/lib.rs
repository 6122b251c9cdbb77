//! What a service of the shop needs from its platform: configuration, a database, other
//! services, the clock, and an HTTP server.
//!
//! There are two platforms, selected by the compile target: a WebAssembly component uses
//! the host's interfaces ([`component`]), a native program uses the operating system
//! (`native`). Services depend only on this crate and do not know which of the two they
//! run on. The crate does not know the shop.

pub mod client;
mod config;
pub mod database;
mod log;
mod problem;
mod request;
mod response;

#[cfg(target_family = "wasm")]
pub mod component;
#[cfg(not(target_family = "wasm"))]
pub mod native;

#[cfg(target_family = "wasm")]
use component as backend;
#[cfg(not(target_family = "wasm"))]
use native as backend;

pub use backend::clock::{now_ms, sleep};
pub use config::{config, config_or};
pub use database::{Database, DatabaseError, Rows, Transaction, Value};
pub use log::log;
pub use problem::{Problem, no_such_method, no_such_path};
pub use request::{BODY_BYTES_MAX, Form, JsonBody, PathId, Query};
pub use response::{json, text};
