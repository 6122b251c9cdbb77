//! Building images, running containers, asking them.

mod container;
mod images;

use std::process::Command;
use std::time::{Duration, Instant};

pub use container::Run;
pub use images::{build, image};

/// How long a test waits for something that will happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is there; fails with `what` when it never is.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a command ended with.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn done(command: &mut Command) -> Done {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What a command prints; it must succeed.
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

/// `podman` with these arguments; its settings come by the environment.
pub fn podman<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    assert!(
        std::env::var_os("CONTAINERS_CONF").is_some(),
        "run these tests by `cargo xtask test-deploy`, which makes what they need"
    );
    let mut podman = Command::new("podman");
    podman.args(arguments);
    podman
}
