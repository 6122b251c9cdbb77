//! Serving: from the exported handler to the router and back.
//!
//! `wstd-axum` does the same with fewer words, but makes the router anew for
//! each request and asks the host for things that routers do not look at; each
//! of those is a call across the component's boundary.

use std::cell::OnceCell;
use std::fmt::Display;
use std::process::ExitCode;

use axum::Router;
use tower_service::Service;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use super::{incoming, outgoing};

thread_local! {
    /// The instance's router, made at its first request.
    static ROUTER: OnceCell<Router> = const { OnceCell::new() };
}

/// Answers one request with the instance's router.
pub fn handle(request: IncomingRequest, response: ResponseOutparam, make_router: fn() -> Router) {
    // Cloning a router counts one reference; routing needs it to itself.
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

/// Runs the work of a job to its end.
pub fn run_to_end<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    crate::log::exit_code(wstd::runtime::block_on(work))
}
