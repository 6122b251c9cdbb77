//! Bindings of the interfaces that the platform adds to `wasi:http/proxy`, generated from
//! `wit/world.wit`.

#![allow(
    unsafe_code,
    reason = "generated: calls across the component's boundary"
)]
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "additions",
    generate_all,
});
