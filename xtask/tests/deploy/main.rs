//! What is in `deploy/`, from outside: images built and run by podman, manifests for
//! Kubernetes. Run by `cargo xtask test-deploy`, which makes what they need.

#![allow(
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and nobody else reads these modules"
)]

mod compose;
mod image;
mod kubernetes;
mod support;
mod topology;
