//! Tests of the content of `deploy/`: images built and run with podman, manifests for
//! Kubernetes. Run them with `cargo xtask test-deploy`, which creates what they need.

#![allow(
    clippy::panic,
    unreachable_pub,
    reason = "a panic fails the test, and the modules have no other users"
)]

mod compose;
mod image;
mod kubernetes;
mod support;
mod topology;
