//! The log lines of guests, as standard output has them.

use serde::Serialize;

/// One line that a guest logged.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct GuestLogLine<'a> {
    /// When it was logged, in RFC 3339, with milliseconds.
    pub time: String,
    /// Of the workload.
    pub namespace: &'a str,
    /// The workload's name.
    pub workload: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// `stdout`, `stderr`, or `log` (`wasi:logging`).
    pub stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// From `wasi:logging`: `trace`, `debug`, `info`, `warn`, `error`, `critical`.
    pub level: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    /// From `wasi:logging`: the part of the guest that logs, at most 256 bytes.
    pub context: &'a str,
    /// The trace of the request that the guest serves, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The logged text, at most 16 KiB; invalid UTF-8 is replaced.
    pub message: &'a str,
}
