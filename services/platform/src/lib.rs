//! What a service of the shop needs from the platform beneath it: its
//! configuration, a database, other services, the clock, and a way to be
//! called.
//!
//! There are two platforms, chosen by the compile target: as a WebAssembly
//! component everything comes from the host's interfaces ([`component`]), as a
//! native program from the operating system (`native`). Services are written
//! against this crate only and do not know which of the two they run on.
//! Nothing here knows the shop.

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
