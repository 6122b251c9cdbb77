//! Builds images, runs containers, and sends them requests.

mod compose;
mod container;
mod http;
mod images;
mod k6;
mod network;

use std::process::Command;
use std::time::{Duration, Instant};

pub use compose::Stack;
pub use container::{Container, Run};
pub use http::{Answer, get, post};
pub use images::{build, image, postgresql};
pub use k6::smoke;
pub use network::Network;

/// How long a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `ask` until it returns a value; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The result of a command.
pub struct CommandResult {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command and waits for it.
pub fn done(command: &mut Command) -> CommandResult {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    CommandResult {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The output of a command, which must succeed.
pub fn printed(command: &mut Command) -> String {
    let done = done(command);
    assert_eq!(
        done.code,
        Some(0),
        "{command:?}\n{}\n{}",
        done.stdout,
        done.stderr
    );
    done.stdout
}

/// `podman` with these arguments; its settings come from the environment.
pub fn podman<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    assert!(
        std::env::var_os("CONTAINERS_CONF").is_some(),
        "run these tests with `cargo xtask test-deploy`, which creates what they need"
    );
    let mut podman = Command::new("podman");
    podman.args(arguments);
    podman
}

/// A line of an access log.
pub type Call = serde_json::Value;

/// The whole output of a container.
pub fn logs(container: &str) -> String {
    let logs = done(&mut podman(["logs", container]));
    logs.stdout + &logs.stderr
}

/// The calls in the output of a host.
pub fn calls(logs: &str) -> Vec<Call> {
    let lines = logs.lines().filter(|line| line.starts_with('{'));
    let objects = lines.filter_map(|line| serde_json::from_str::<Call>(line).ok());
    objects
        .filter(|it| it.get("response_code").is_some())
        .collect()
}
