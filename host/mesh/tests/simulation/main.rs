//! Simulations of the mesh: resources as YAML, thousands of calls to scripted endpoints, a
//! clock that only tests advance, and a printed seed.

#![allow(
    clippy::disallowed_methods,
    reason = "a simulation has its own clock and random numbers"
)]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "the support code fails a test that a call contradicts"
)]

mod authorization;
mod destinations;
mod drive;
mod explain;
mod external;
mod fidelity;
mod gateway_api;
mod gateways;
mod hosts;
mod issuer;
mod names;
mod network;
mod outside;
mod passthrough;
mod peers;
mod rate_limits;
mod rules;
mod run;
mod shop;
mod sidecars;
mod substitutions;
mod tokens;
mod world;
