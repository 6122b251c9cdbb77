//! Tests of the host in process: the parts of the binary from the listener to the guest,
//! without a child process, ports or files that are watched.
//!
//! `lib.rs` compiles this module into the unit tests of the library: it reaches what is
//! private there, and no further test program has to be linked. What a test of this
//! layer cannot show, such as the command line, sockets, signals, limits of the process
//! and standard error, is tested with the binary.

#![expect(
    unreachable_pub,
    reason = "test support is written as for a test program"
)]

mod connections;
mod costs;
mod counts;
mod gateway_api;
mod idle_pods;
mod reused_instances;
mod rules;
mod telemetry;
mod testing;
mod unread_bodies;
