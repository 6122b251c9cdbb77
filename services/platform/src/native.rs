//! The platform of a native program: the operating system. It exists to test
//! the services and to compare the same code with and without WebAssembly.

pub mod client;
pub mod clock;
pub mod config;
pub mod database;
pub mod server;

/// The program of a native service: listens on `$PORT` (default 8080) of the
/// loopback interface.
#[macro_export]
macro_rules! serve {
    ($router:expr) => {
        fn main() -> std::io::Result<()> {
            $crate::native::server::run($router)
        }
    };
}

/// The program of a native job: runs the future that `$work` makes to its end,
/// and ends with 1 and a line in the log where it fails.
#[macro_export]
macro_rules! run {
    ($work:expr) => {
        fn main() -> std::process::ExitCode {
            $crate::native::server::run_to_end($work)
        }
    };
}
