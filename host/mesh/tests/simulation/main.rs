//! The mesh simulated: YAML in, thousands of calls against scripted endpoints,
//! time that only moves when a test moves it, and a printed seed.

mod destinations;
mod gateways;
mod hosts;
mod rules;
mod shop;
mod world;
