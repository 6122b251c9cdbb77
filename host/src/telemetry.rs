//! What an operator sees: metrics, access log, the host's own log.

pub(crate) mod access_log;
#[cfg(test)]
mod document;
pub(crate) mod guest_log;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod readable;
pub(crate) mod sink;
pub(crate) mod tally;
pub(crate) mod trace;
