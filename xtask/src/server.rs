//! Server processes that end with the benchmark.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to respond, including the compilation of its guests.
const START_MAX: Duration = Duration::from_secs(120);
/// How long one readiness request may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The ports of servers; Linux gives those from 32768 to clients.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A process that is killed when it is dropped, and also when the benchmark itself is
/// killed.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server; its output is written to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let output = File::create(log).with_context(|| log.display().to_string())?;
        Self::spawn(command, output.try_clone()?.into(), output, log)
    }

    /// Like [`Server::start`], but standard output is a pipe that is read to its end.
    pub(crate) fn start_piped(command: &Command, log: &Path) -> Result<Self> {
        let errors = File::create(log).with_context(|| log.display().to_string())?;
        let mut server = Self::spawn(command, Stdio::piped(), errors, log)?;
        if let Some(mut output) = server.process.stdout.take() {
            thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        }
        Ok(server)
    }

    fn spawn(command: &Command, output: Stdio, errors: File, log: &Path) -> Result<Self> {
        // With `setpriv`, the kernel ends the server when its parent ends for any reason.
        let mut bound = Command::new("setpriv");
        bound
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program());
        bound.args(command.get_args());
        bound.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        if let Some(folder) = command.get_current_dir() {
            bound.current_dir(folder);
        }
        bound.stdin(Stdio::null()).stderr(errors).stdout(output);
        let process = bound
            .spawn()
            .context("cannot start setpriv (Debian package util-linux)")?;
        Ok(Self {
            process,
            log: log.into(),
        })
    }

    /// Waits until a page of this server returns 200, and returns the time at which it
    /// did.
    pub(crate) fn wait_for(&mut self, address: SocketAddr, path: &str) -> Result<Instant> {
        self.wait_until(|| status(address, path).is_ok_and(|status| status == 200))
    }

    /// Waits until `holds` returns true; fails if the process exits.
    pub(crate) fn wait_until(&mut self, holds: impl Fn() -> bool) -> Result<Instant> {
        let start = Instant::now();
        while !holds() {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "the server exited ({status}); its output:\n{}",
                    self.printed()
                );
            }
            if start.elapsed() > START_MAX {
                bail!(
                    "the server did not become ready; its output:\n{}",
                    self.printed()
                );
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Instant::now())
    }

    /// Sends SIGTERM to the process and waits until it exits.
    pub(crate) fn terminate(mut self) -> Result<()> {
        let id = self.process.id().to_string();
        crate::process::read(Command::new("kill").args(["-TERM", &id]))?;
        self.process.wait()?;
        Ok(())
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Resident memory of these processes, in bytes.
pub(crate) fn resident_bytes(servers: &[Server]) -> Result<u64> {
    servers.iter().map(|server| resident(server.id())).sum()
}

fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.context("the kernel reports no resident memory")? * 1024)
}

/// A free loopback address, whose port the kernel does not also give to clients: a load
/// generator that starts before the server could take it otherwise.
pub(crate) fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at the same time start at different ports.
    let offset = u16::try_from(process::id() % 100)? * 100;
    for _ in 0..PORTS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_FIRST + offset.wrapping_add(next) % PORTS;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port of {PORT_FIRST} and the following {PORTS} is free")
}

/// The status code of a GET request.
fn status(address: SocketAddr, path: &str) -> Result<u16> {
    let answer = get(address, path)?;
    let code = answer.split(' ').nth(1).context("no status line")?;
    Ok(code.parse()?)
}

/// The raw response to a GET request, including its head.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    get_with(address, path, &[])
}

/// The same for a request with these headers, each as `name: value`.
pub(crate) fn get_with(address: SocketAddr, path: &str, headers: &[String]) -> Result<String> {
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
