//! `galleria healthcheck`: for a container's health check, where there is no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::print;
use crate::status;

/// As long as a container engine waits by default.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Asks whether the host is ready, or only whether it lives.
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
    let asked = runtime.block_on(async {
        tokio::time::timeout(ANSWER_MAX, status::ask_port(address, path)).await
    });
    let unanswered = || format!("no response from the status port {address}");
    let (code, text) = asked.with_context(unanswered)?.with_context(unanswered)?;
    print(text.trim_end());
    Ok(ExitCode::from(u8::from(!code.is_success())))
}

/// A port that is bound on every address is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
