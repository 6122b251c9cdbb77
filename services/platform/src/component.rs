//! The platform of a WebAssembly component: everything comes from the host's
//! interfaces, nothing from an operating system.
//!
//! An instance serves one request at a time and is used again for the next, so
//! what is expensive to make (router, configuration, open database) is kept in
//! the instance.

mod bindings;
pub mod client;
pub mod clock;
pub mod config;
pub mod database;
mod incoming;
mod outgoing;
pub mod server;

pub use wasip2;

/// The program of a component: exports `wasi:http/incoming-handler` and
/// answers with the router that `$router` makes once for each instance.
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

        /// A service is called by its exported handler; there is nothing to run.
        fn main() {}
    };
}

/// The program of a job: runs the future that `$work` makes to its end, and
/// ends with 1 and a line in the log where it fails.
#[macro_export]
macro_rules! run {
    ($work:expr) => {
        fn main() -> std::process::ExitCode {
            $crate::component::server::run_to_end($work)
        }
    };
}
