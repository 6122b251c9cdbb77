//! Bindings of the interfaces that the platform adds to `wasi:http`: `wasi:config/store`,
//! `wasi:logging` and `galleria:sql`.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated bindings"
)]

wit_bindgen::generate!({
    path: "../../../wit",
    world: "galleria:platform/additions",
    generate_all,
    // Named only so that the package parses; it is not used.
    features: ["clocks-timezone"],
});
