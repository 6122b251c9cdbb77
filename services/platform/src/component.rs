//! The platform of a WebAssembly component: it uses only the host's interfaces, not an
//! operating system.
//!
//! An instance serves one request at a time and is reused for the next one, so it keeps
//! what is expensive to create: router, configuration, open database.

mod bindings;
pub mod client;
pub mod clock;
pub mod config;
pub mod database;
mod incoming;
mod outgoing;
pub mod server;

pub use wasip2;

/// Generates the program of a component: exports `wasi:http/incoming-handler` and handles
/// requests with the router that `$router` creates once per instance.
#[macro_export]
macro_rules! serve {
    ($router:expr) => {
        mod component {
            #![expect(unsafe_code, reason = "an exported function has an unsafe signature")]
            use super::*;

            struct Service;

            impl $crate::component::wasip2::exports::http::incoming_handler::Guest for Service {
                fn handle(
                    request: $crate::component::wasip2::http::types::IncomingRequest,
                    response: $crate::component::wasip2::http::types::ResponseOutparam,
                ) {
                    $crate::component::server::handle(request, response, || $router);
                }
            }

            $crate::component::wasip2::http::proxy::export!(
                Service with_types_in $crate::component::wasip2
            );
        }

        /// The host calls the exported handler; `main` does nothing.
        fn main() {}
    };
}

/// Generates the program of a job: runs the future that `$work` creates to completion. If
/// it fails, the program logs the error and exits with 1.
#[macro_export]
macro_rules! run {
    ($work:expr) => {
        fn main() -> std::process::ExitCode {
            $crate::component::server::run_to_end($work)
        }
    };
}
