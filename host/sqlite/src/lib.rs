//! SQLite for guests that are not trusted: a connection on which no statement
//! reaches another file, takes memory that nobody counts, or goes on for longer
//! than it may.
//!
//! It knows files and statements; which file a guest may have, on which thread a
//! statement runs and when it has to end are the caller's to say. What holds a
//! statement back:
//!
//! - `authorizer`: what it may do, a list of what is allowed;
//! - `limits`: how large its text, values and program may be;
//! - `memory`: every allocation is counted, and refused over the budget;
//! - `functions`: those that SQLite has in quadratic time, in linear time;
//! - the [`Watch`], asked every thousand instructions whether it goes on.

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
pub use connection::{Connection, Kind, Settings, Watch};
pub use error::Error;
pub use limits::{LENGTH_MAX, STATEMENT_BYTES_MAX};
pub use memory::{Budget, Memory, initialize};
pub use rusqlite::types::Value;
pub use statement::{AnswerLimits, Rows, reads};
