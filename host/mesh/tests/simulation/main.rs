//! Simulations of the mesh: resources as YAML, thousands of calls to scripted endpoints, a
//! clock that only tests advance, and a printed seed.

#![allow(
    clippy::disallowed_methods,
    reason = "a simulation brings its own clock and its own randomness"
)]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "what a test's own support does when a call goes otherwise than the test says"
)]

mod destinations;
mod drive;
mod explain;
mod gateway_api;
mod gateways;
mod hosts;
mod rules;
mod run;
mod shop;
mod world;
