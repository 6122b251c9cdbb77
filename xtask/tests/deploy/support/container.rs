//! A container that goes with its test.

use std::net::SocketAddr;
use std::process::Command;

use super::{Answer, Call, Done, calls, done, eventually, get, logs, podman, post, printed};

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
    /// As it should be run: nothing to write on, no capability, no way to more.
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

    /// Runs it to its end.
    pub fn to_its_end(self) -> Done {
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
    /// One that something else started.
    pub fn named(name: &str) -> Self {
        Self { id: name.into() }
    }

    /// Waits until the host within is ready.
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

    /// Asks the shop's gateway.
    pub fn get(&self, path: &str) -> Answer {
        let answer = get(self.gateway(), path);
        answer.unwrap_or_else(|| panic!("no answer to {path}:\n{}", self.logs()))
    }

    /// Posts JSON to the shop's gateway.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        post(self.gateway(), path, body).expect("an answer")
    }

    /// One line of `podman inspect`.
    pub fn inspect(&self, format: &str) -> String {
        printed(&mut podman(["inspect", "--format", format, &self.id]))
            .trim()
            .to_owned()
    }

    /// A file of `/proc` about the container's program, as the machine sees it.
    pub fn proc(&self, file: &str) -> String {
        let id = self.inspect("{{.State.Pid}}");
        std::fs::read_to_string(format!("/proc/{id}/{file}")).expect("the container runs")
    }

    /// What a program in the container prints.
    pub fn exec<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> String {
        printed(podman(["exec", &self.id]).args(command))
    }

    /// Runs the health check that the image declares.
    pub fn health_check(&self) -> Done {
        done(&mut podman(["healthcheck", "run", &self.id]))
    }

    /// Everything that it wrote.
    pub fn logs(&self) -> String {
        logs(&self.id)
    }

    /// The calls in its access log.
    pub fn calls(&self) -> Vec<Call> {
        calls(&self.logs())
    }

    /// Asks it to end, waits, and gives its exit code.
    pub fn stop(&self) -> String {
        printed(&mut podman(["stop", "--time", "60", &self.id]));
        self.inspect("{{.State.ExitCode}}")
    }

    /// Where the shop's gateway is reached from here.
    pub fn gateway(&self) -> SocketAddr {
        self.port(GATEWAY)
    }

    /// Where a port of the container is reached from here.
    fn port(&self, port: &str) -> SocketAddr {
        let address = printed(&mut podman(["port", &self.id, port]));
        address.trim().parse().expect("an address")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // A test that failed has said so already.
        let _ = podman(["rm", "--force", "--volumes", "--time", "0", &self.id]).output();
    }
}
