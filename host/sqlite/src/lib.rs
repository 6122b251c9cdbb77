//! SQLite for untrusted guests: a connection on which no statement can access another
//! file, use uncounted memory, or run longer than allowed.
//!
//! The crate knows files and statements. The caller decides which file a guest may open,
//! on which thread a statement runs, and when it must end. These modules restrict a
//! statement:
//!
//! - `authorizer`: an allow list of what it may do;
//! - `limits`: the size of its text, values and program;
//! - `memory`: every allocation is counted, and refused if it exceeds the budget;
//! - `functions`: linear-time versions of functions that take quadratic time in SQLite;
//! - the [`Watch`], called every thousand instructions, decides whether it continues.

mod authorizer;
mod backup;
mod connection;
mod error;
mod functions;
mod limits;
mod memory;
mod statement;

pub use authorizer::{Refusal, allow};
pub use backup::back_up;
pub use connection::{Connection, HostStatement, Kind, Settings, Watch};
pub use error::Error;
pub use limits::{LENGTH_MAX, STATEMENT_BYTES_MAX};
pub use memory::{Budget, Memory, initialize};
pub use rusqlite::types::Value;
pub use statement::{AnswerLimits, Rows, reads};
