//! `galleria healthcheck`: a container's health check, for images without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::status;
use crate::terminal::print;

/// The default timeout of a container engine.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Checks whether the host is ready, or only whether it is alive.
pub(super) fn healthcheck(address: SocketAddr, live: bool) -> anyhow::Result<ExitCode> {
    let address = reachable(address);
    let path = if live {
        "/healthz/live"
    } else {
        "/healthz/ready"
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        tokio::time::timeout(ANSWER_MAX, status::ask_port(address, path)).await
    });
    let unanswered = || format!("no response from the status port {address}");
    let (code, text) = result.with_context(unanswered)?.with_context(unanswered)?;
    print(text.trim_end());
    Ok(ExitCode::from(u8::from(!code.is_success())))
}

/// The loopback address for a port that is bound on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
