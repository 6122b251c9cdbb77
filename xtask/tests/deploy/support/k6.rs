//! Runs k6's simulated shoppers against containers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::printed;

/// Runs the smoke test; fails if one request failed or one response was wrong.
pub fn smoke(shop: SocketAddr, iterations: u32) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/k6/smoke.js");
    let k6 = std::env::var_os("K6").expect("the path of k6, which `cargo xtask test-deploy` sets");
    let mut run = Command::new(k6);
    // Several run at once, so none opens the port of k6's API.
    run.args(["run", "--quiet", "--no-usage-report", "--address", ""]);
    run.args(["-e", &format!("BASE_URL=http://{shop}")]);
    run.args(["-e", &format!("ITERATIONS={iterations}")]);
    printed(run.arg(script));
}
