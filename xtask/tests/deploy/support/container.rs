//! A container that is removed with its test.

use std::net::SocketAddr;
use std::process::Command;

use super::{
    Answer, Call, CommandResult, calls, done, eventually, get, logs, podman, post, printed,
};

/// The port of the shop's gateway in a container, and the status port.
const GATEWAY: &str = "8080";
const STATUS: &str = "15020";

/// How to start a container of the image.
pub struct Run {
    options: Vec<String>,
    image: &'static str,
    arguments: Vec<String>,
}

/// A running container.
pub struct Container {
    id: String,
}

impl Run {
    /// The recommended settings: read-only, without capabilities, no privilege
    /// escalation.
    pub fn of(image: &'static str) -> Self {
        let options = [
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--publish=127.0.0.1::8080",
            "--publish=127.0.0.1::15020",
        ];
        Self {
            options: options.map(str::to_owned).into(),
            image,
            arguments: Vec::new(),
        }
    }

    /// A further option of `podman run`.
    pub fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    /// An argument for the program in the container.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it in the background.
    pub fn start(self) -> Container {
        let id = printed(&mut self.command("--detach"));
        Container {
            id: id.trim().into(),
        }
    }

    /// Runs it to completion.
    pub fn to_its_end(self) -> CommandResult {
        done(&mut self.command("--rm"))
    }

    fn command(&self, how: &str) -> Command {
        let mut run = podman(["run", how]);
        run.args(&self.options).arg(self.image);
        run.args(&self.arguments);
        run
    }
}

impl Container {
    /// A container that was started otherwise.
    pub fn named(name: &str) -> Self {
        Self { id: name.into() }
    }

    /// Waits until the host in it is ready.
    pub fn ready(self) -> Self {
        eventually("the host is ready", || {
            assert_eq!(
                self.inspect("{{.State.Running}}"),
                "true",
                "{}",
                self.logs()
            );
            let answer = get(self.port(STATUS), "/healthz/ready")?;
            (answer.status == 200).then_some(())
        });
        self
    }

    /// Sends a GET request to the shop's gateway.
    pub fn get(&self, path: &str) -> Answer {
        let answer = get(self.gateway(), path);
        answer.unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.logs()))
    }

    /// Posts JSON to the shop's gateway.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        post(self.gateway(), path, body).expect("an answer")
    }

    /// One line of output of `podman inspect`.
    pub fn inspect(&self, format: &str) -> String {
        printed(&mut podman(["inspect", "--format", format, &self.id]))
            .trim()
            .to_owned()
    }

    /// A file of `/proc` about the container's process, from the machine's point of view.
    pub fn proc(&self, file: &str) -> String {
        let id = self.inspect("{{.State.Pid}}");
        std::fs::read_to_string(format!("/proc/{id}/{file}")).expect("the container runs")
    }

    /// The output of a program in the container.
    pub fn exec<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> String {
        printed(podman(["exec", &self.id]).args(command))
    }

    /// Runs the health check that the image declares.
    pub fn health_check(&self) -> CommandResult {
        done(&mut podman(["healthcheck", "run", &self.id]))
    }

    /// The whole output of the container.
    pub fn logs(&self) -> String {
        logs(&self.id)
    }

    /// The calls in its access log.
    pub fn calls(&self) -> Vec<Call> {
        calls(&self.logs())
    }

    /// Stops it, waits, and returns its exit code.
    pub fn stop(&self) -> String {
        printed(&mut podman(["stop", "--time", "60", &self.id]));
        self.inspect("{{.State.ExitCode}}")
    }

    /// The address of the shop's gateway.
    pub fn gateway(&self) -> SocketAddr {
        self.port(GATEWAY)
    }

    /// The address of a port of the container.
    fn port(&self, port: &str) -> SocketAddr {
        let address = printed(&mut podman(["port", &self.id, port]));
        address.trim().parse().expect("an address")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A failed test has reported its error already.
        let _ = podman(["rm", "--force", "--volumes", "--time", "0", &self.id]).output();
    }
}
