//! Serves on a TCP port.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use tokio::net::TcpListener;

/// The port on which the service listens if `PORT` is not set.
const PORT_DEFAULT: u16 = 8080;

/// Serves `router` until the process is interrupted.
///
/// # Errors
/// `PORT` is not a port number, or the port cannot be bound.
pub fn run(router: Router) -> std::io::Result<()> {
    let port = match crate::config("PORT") {
        Some(text) => text.parse().map_err(|_| {
            std::io::Error::other(format!("PORT: {text:?} is not a port number (0 to 65535)"))
        })?,
        None => PORT_DEFAULT,
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
            crate::log(format_args!(
                "listening on http://{}",
                listener.local_addr()?
            ));
            axum::serve(listener, router)
                .with_graceful_shutdown(async {
                    let _ = tokio::signal::ctrl_c().await;
                })
                .await
        })
}

/// Runs the work of a job to completion.
pub fn run_to_end<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => crate::log::exit_code(runtime.block_on(work)),
        Err(error) => crate::log::exit_code(Err(error)),
    }
}
