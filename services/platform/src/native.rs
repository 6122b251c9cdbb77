//! The platform of a native program: the operating system. It is used to test the
//! services and to compare the same code with and without WebAssembly.

pub mod client;
pub mod clock;
pub mod config;
pub mod database;
pub mod server;

/// Generates the program of a native service that listens on `$PORT` (default 8080) of
/// the loopback interface.
#[macro_export]
macro_rules! serve {
    ($router:expr) => {
        fn main() -> std::io::Result<()> {
            $crate::native::server::run($router)
        }
    };
}

/// Generates the program of a native job: runs the future that `$work` creates to
/// completion. If it fails, the program logs the error and exits with 1.
#[macro_export]
macro_rules! run {
    ($work:expr) => {
        fn main() -> std::process::ExitCode {
            $crate::native::server::run_to_end($work)
        }
    };
}
