//! Connects the exported handler with the router.
//!
//! `wstd-axum` does the same in less code, but creates the router for each request and
//! queries properties from the host that routers do not use; each query is a call across
//! the component's boundary.

use std::cell::OnceCell;
use std::fmt::Display;
use std::process::ExitCode;

use axum::Router;
use tower_service::Service;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use super::{incoming, outgoing};

thread_local! {
    /// The instance's router, created at its first request.
    static ROUTER: OnceCell<Router> = const { OnceCell::new() };
}

/// Handles one request with the instance's router.
pub fn handle(request: IncomingRequest, response: ResponseOutparam, make_router: fn() -> Router) {
    // Cloning a router only increments a reference count; routing needs its own clone.
    let mut router = ROUTER.with(|router| router.get_or_init(make_router).clone());
    wstd::runtime::block_on(async move {
        match incoming::accept(request) {
            Ok(request) => {
                let Ok(answer) = router.call(request).await;
                outgoing::respond(response, answer).await;
            }
            Err(error) => outgoing::refuse(response, &error),
        }
    });
}

/// Runs the work of a job to completion.
pub fn run_to_end<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    crate::log::exit_code(wstd::runtime::block_on(work))
}
