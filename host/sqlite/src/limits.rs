//! Limits on the size of everything that a statement consists of.

use rusqlite::Connection;
use rusqlite::limits::Limit;

/// Bytes of a text, a blob, a row. SQLite holds several of them at a time for one row,
/// and no function on a single value can be interrupted: this limits both. Cloudflare's
/// D1 uses the same value.
pub const LENGTH_MAX: i32 = 2 << 20;

/// Bytes of a statement or script: longer ones contain data, which belongs in parameters.
/// Parsing is interrupted less often than execution.
pub const STATEMENT_BYTES_MAX: i32 = 256 << 10;

/// LIKE takes time proportional to the product of the lengths of pattern and text; real
/// search patterns have up to a hundred characters.
const LIKE_PATTERN_MAX: i32 = 512;

/// Every limit with its reason.
const LIMITS: [(Limit, i32); 14] = [
    (Limit::SQLITE_LIMIT_LENGTH, LENGTH_MAX),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_BYTES_MAX),
    // More columns are a design mistake; planning takes quadratic time in them.
    (Limit::SQLITE_LIMIT_COLUMN, 500),
    // The parser and the planner recurse this deep on the thread's stack.
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_PARSER_DEPTH, 500),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
    // Instructions of one program, 24 bytes each.
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
    // No other file. `VACUUM` needs one, so it is refused as well.
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_MAX),
    // Enough for a statement that inserts many rows.
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 8_192),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
    (Limit::SQLITE_LIMIT_TRIGGER_STEPS, 100),
    // Statements sort on the thread that runs them.
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Tables, indexes, triggers and views: each connection holds them all in memory.
const SCHEMA_OBJECTS_MAX: i32 = 2_000;

pub(crate) fn set(connection: &Connection) -> rusqlite::Result<()> {
    for (limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_SCHEMA, SCHEMA_OBJECTS_MAX)?;
    Ok(())
}

/// Bytes of a text, a blob and a row, and of a pattern, in a statement that must be
/// short: functions on values take up to the product of two lengths.
const SHORT: [(Limit, i32); 2] = [
    (Limit::SQLITE_LIMIT_LENGTH, 16 << 10),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64),
];
const USUAL: [(Limit, i32); 2] = [
    (Limit::SQLITE_LIMIT_LENGTH, LENGTH_MAX),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_MAX),
];

/// Sets the limits of a statement that must be short, or restores the usual ones.
pub(crate) fn set_short(connection: &Connection, short: bool) -> rusqlite::Result<()> {
    for (limit, value) in if short { SHORT } else { USUAL } {
        connection.set_limit(limit, value)?;
    }
    Ok(())
}
