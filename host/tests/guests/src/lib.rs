//! The shared code of the test guests: just enough of `wasi:http` to implement a guest in
//! a few lines.
//!
//! Every file of `src/bin` is one guest with one behaviour; the comment at its top is its
//! contract with the tests. On the native target each of them is an empty program, so
//! that the whole workspace can be checked at once.

mod call;
mod outgoing;
pub mod p3;
pub mod platform;

#[doc(hidden)]
pub use wasip2;
#[doc(hidden)]
pub use wasip3;

pub use call::{Body, Call};
pub use outgoing::{Answer, get, send, url};

/// Makes the program a `wasi:http/incoming-handler@0.2` component that handles each
/// request with the given function.
#[macro_export]
macro_rules! guest {
    ($answer:ident) => {
        #[cfg(target_family = "wasm")]
        mod export {
            struct Guest;

            impl $crate::wasip2::exports::http::incoming_handler::Guest for Guest {
                fn handle(
                    request: $crate::wasip2::http::types::IncomingRequest,
                    response: $crate::wasip2::http::types::ResponseOutparam,
                ) {
                    super::$answer($crate::Call::new(request, response));
                }
            }

            use $crate::wasip2;
            wasip2::http::proxy::export!(Guest);
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::Call) = $answer;

        fn main() {}
    };
}

/// Makes the program a `wasi:http/handler@0.3` component that handles requests
/// concurrently with the given asynchronous function.
#[macro_export]
macro_rules! guest_p3 {
    ($answer:ident) => {
        #[cfg(target_family = "wasm")]
        mod export {
            use $crate::wasip3::http::types::{ErrorCode, Request, Response};

            struct Guest;

            impl $crate::wasip3::exports::http::handler::Guest for Guest {
                async fn handle(request: Request) -> Result<Response, ErrorCode> {
                    super::$answer(request).await
                }
            }

            use $crate::wasip3;
            wasip3::http::service::export!(Guest);
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::wasip3::http::types::Request) = |request| drop($answer(request));

        fn main() {}
    };
}

/// Makes the program a `wasi:cli/run@0.3` component that runs the given asynchronous
/// function.
#[macro_export]
macro_rules! command_p3 {
    ($run:ident) => {
        #[cfg(target_family = "wasm")]
        mod export {
            struct Command;

            impl $crate::wasip3::exports::cli::run::Guest for Command {
                async fn run() -> Result<(), ()> {
                    super::$run().await
                }
            }

            use $crate::wasip3;
            wasip3::cli::command::export!(Command);
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn() = || drop($run());

        fn main() {}
    };
}
