//! The unmodified compose files, started by docker-compose over podman's
//! Docker-compatible socket.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    Call, CommandResult, calls, done, eventually, image, logs, podman, postgresql, printed,
};

/// A docker-compose project on a copy of `deploy/compose`; removed with its test.
pub struct Stack {
    folder: tempfile::TempDir,
    project: String,
    files: &'static [&'static str],
    podman: Child,
}

impl Stack {
    /// Starts the services of `files`, with generated secrets.
    pub fn up(files: &'static [&'static str]) -> Self {
        image();
        postgresql();
        let stack = Self::of(files);
        printed(&mut stack.compose(["up", "--detach"]));
        stack
    }

    /// Starts nothing.
    pub fn of(files: &'static [&'static str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose");
        let copy = folder.path().join("compose");
        printed(Command::new("cp").arg("-R").arg(source).arg(&copy));
        // Secrets in the working copy belong to the developer and are not used.
        let _ = fs::remove_dir_all(copy.join("secrets"));
        printed(&mut Command::new(copy.join("secrets.sh")));
        let podman = service(folder.path());
        Self {
            folder,
            project: format!("galleria{}x{number}", std::process::id()),
            files,
            podman,
        }
    }

    /// The copy of `deploy/compose`.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("compose")
    }

    /// `docker-compose` with these arguments, on the stack's files.
    pub fn compose<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut compose = Command::new("docker-compose");
        compose.current_dir(self.folder());
        let socket = self.folder.path().join("podman.sock");
        compose.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        // A free port of the loopback interface.
        compose.env("GALLERIA_PORT", "127.0.0.1:");
        compose.args(["--project-name", &self.project]);
        for file in self.files {
            compose.args(["--file", file]);
        }
        compose.args(arguments);
        compose
    }

    /// Waits until every declared health check succeeds.
    pub fn healthy(&self) {
        let services = printed(&mut self.compose(["config", "--services"]));
        for service in services.split_whitespace() {
            eventually(&format!("{service} is healthy"), || {
                (self.check(service).code == Some(0)).then_some(())
            });
        }
    }

    /// Runs a service's health check once; without systemd, no timer does.
    pub fn check(&self, service: &str) -> CommandResult {
        done(&mut podman(["healthcheck", "run", &self.id(service)]))
    }

    /// The address of the portal.
    pub fn gateway(&self) -> SocketAddr {
        let address = printed(&mut podman(["port", &self.id("galleria"), "8080"]));
        address.trim().parse().expect("an address")
    }

    /// The calls in a service's access log.
    pub fn calls(&self, service: &str) -> Vec<Call> {
        calls(&logs(&self.id(service)))
    }

    /// Changes one of the mounted files.
    pub fn edit(&self, file: &str, change: impl Fn(&str) -> String) {
        let path = self.folder().join(file);
        let before = fs::read_to_string(&path).expect("a file");
        let after = change(&before);
        assert_ne!(before, after, "nothing to change in {file}");
        fs::write(path, after).expect("a file");
    }

    fn id(&self, service: &str) -> String {
        let service = format!("label=com.docker.compose.service={service}");
        let id = printed(self.containers().args(["--filter", &service]));
        assert!(!id.is_empty(), "{service} has no container");
        id.trim().to_owned()
    }

    /// The command that lists all of its containers.
    fn containers(&self) -> Command {
        let project = format!("label=com.docker.compose.project={}", self.project);
        podman(["ps", "--all", "--quiet", "--filter", &project])
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // A failed test has reported its error already. Containers that restart
        // repeatedly can only be removed by force.
        let containers = done(&mut self.containers()).stdout;
        let mut remove = podman(["rm", "--force", "--time", "0"]);
        let _ = remove.args(containers.split_whitespace()).output();
        let _ = self.compose(["down", "--volumes"]).output();
        let _ = self.podman.kill();
        let _ = self.podman.wait();
    }
}

/// Serves Docker's API on a socket in `folder`.
fn service(folder: &Path) -> Child {
    let socket = folder.join("podman.sock");
    let podman = podman(["system", "service", "--time", "0"]);
    // The kernel ends it when the test ends for any reason.
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]);
    bound.arg(podman.get_program()).args(podman.get_args());
    bound.arg(format!("unix://{}", socket.display()));
    bound.stdout(Stdio::null()).stderr(Stdio::null());
    let child = bound.spawn().expect("setpriv and podman");
    eventually("podman serves", || socket.exists().then_some(()));
    child
}
