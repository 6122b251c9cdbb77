//! The mesh simulated: YAML in, thousands of calls against scripted endpoints,
//! time that only moves when a test moves it, and a printed seed.

mod shop;
mod world;
