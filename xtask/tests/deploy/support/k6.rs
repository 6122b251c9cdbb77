//! k6's shoppers, on what runs in containers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::printed;

/// Runs the smoke test; fails when one request failed or one answer was wrong.
pub fn smoke(shop: SocketAddr, iterations: u32) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../loadtest/k6/smoke.js");
    let k6 = std::env::var_os("K6").expect("`cargo xtask test-deploy` says where k6 is");
    let mut run = Command::new(k6);
    // Several run at once: none opens its port for questions.
    run.args(["run", "--quiet", "--no-usage-report", "--address", ""]);
    run.args(["-e", &format!("BASE_URL=http://{shop}")]);
    run.args(["-e", &format!("ITERATIONS={iterations}")]);
    printed(run.arg(script));
}
