//! The answers of the real `galleria`, as a client of its gateway sees them.
//!
//! The other cases call the mesh's functions. These show that the host calls them in the same
//! order, with the same request, and does what they say. One host serves all cases: each has
//! a namespace, a workload and a port of the gateway of its own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::case::{ACCOUNT, Case, LABELS, NAME, PORTS, Request, SEEN};
use super::outcome::{Outcome, Verdict, reported};

/// The port of the first case's gateway.
const FIRST_PORT: u16 = 3000;
const STARTUP: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(20);

/// What to start.
pub(super) struct Binary<'a> {
    pub(super) program: &'a Path,
    /// The folder with the guest `echo`.
    pub(super) components: &'a Path,
    pub(super) work: &'a Path,
}

/// A running host, which is killed when it is dropped.
pub(super) struct Host {
    child: Child,
    /// The addresses of the gateway's ports.
    addresses: HashMap<u16, String>,
}

impl Binary<'_> {
    /// Starts a host with the policies of `cases`.
    pub(super) fn start(&self, cases: &[Case]) -> Result<Host> {
        let folder = self.work.join("host");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let manifests = folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        for (number, case) in cases.iter().enumerate() {
            let file = manifests.join(format!("{number}.yaml"));
            fs::write(file, format!("{}{}", workload(number, case), case.manifest))?;
        }
        let addresses = folder.join("addresses.json");
        let log = fs::File::create(folder.join("log"))?;
        let mut galleria = Command::new(self.program);
        galleria.arg("run").arg(&manifests);
        galleria.arg("--components").arg(self.components);
        galleria.arg("--data").arg(folder.join("data"));
        galleria.arg("--addresses-file").arg(&addresses);
        galleria.args([
            "--free-ports",
            "--status",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        galleria
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = galleria.spawn();
        let child = child.with_context(|| self.program.display().to_string())?;
        let mut host = Host {
            child,
            addresses: HashMap::new(),
        };
        host.wait(&addresses, &folder)?;
        Ok(host)
    }
}

impl Host {
    fn wait(&mut self, addresses: &Path, folder: &Path) -> Result<()> {
        let start = Instant::now();
        let text = loop {
            if let Ok(text) = fs::read_to_string(addresses) {
                break text;
            }
            if self.child.try_wait()?.is_some() || start.elapsed() > STARTUP {
                bail!(
                    "galleria is not ready, see {}",
                    folder.join("log").display()
                );
            }
            sleep(Duration::from_millis(50));
        };
        let addresses: Value = serde_json::from_str(&text)?;
        for listener in addresses["listeners"].as_array().into_iter().flatten() {
            let port = listener["port"]
                .as_u64()
                .and_then(|it| u16::try_from(it).ok());
            let address = listener["address"].as_str();
            self.addresses.extend(port.zip(address.map(str::to_owned)));
        }
        Ok(())
    }

    /// The answer to a request of the case with this number.
    pub(super) fn ask(&self, number: usize, request: &Request) -> Result<Outcome> {
        let address = self.addresses.get(&port(number));
        let address = address.context("the gateway does not have this port")?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.text().as_bytes())?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        outcome(&response).with_context(|| String::from_utf8_lossy(&response).into_owned())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port(number: usize) -> u16 {
    FIRST_PORT + u16::try_from(number).unwrap_or_default()
}

/// The objects of a case besides its policies.
fn workload(number: usize, case: &Case) -> String {
    let metadata = json!({"name": NAME, "namespace": case.namespace});
    let labels: HashMap<_, _> = LABELS.into_iter().collect();
    let container = json!({
        "name": "main",
        "image": "echo",
        "ports": [{"containerPort": PORTS[0]}],
        "resources": {"limits": {"memory": "64Mi"}},
    });
    let gateway = json!({"number": port(number), "name": "http", "protocol": "HTTP"});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": case.namespace}}),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": case.namespace},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": PORTS[0]}]},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"serviceAccountName": ACCOUNT, "containers": [container]},
                },
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata,
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": gateway, "hosts": ["*"]}],
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {
                "hosts": ["*"], "gateways": [NAME],
                "http": [{"route": [{"destination": {"host": NAME}}]}],
            },
        }),
    ];
    objects.map(|object| format!("---\n{object}\n")).concat()
}

/// Reads a response whose connection has ended.
fn outcome(response: &[u8]) -> Option<Outcome> {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let body = match header("transfer-encoding") {
        Some(_) => unchunked(body)?,
        None => body.to_owned(),
    };
    if status == 200 {
        return Some(Outcome::admitted(seen(&body)?));
    }
    Some(Outcome {
        verdict: Verdict::Refused(status),
        body,
        challenge: header("www-authenticate"),
        ..Outcome::closed()
    })
}

/// The body behind `transfer-encoding: chunked`.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// What the guest `echo` says about the request.
fn seen(body: &str) -> Option<BTreeMap<String, String>> {
    let mut lines = body.lines().map(serde_json::from_str::<Value>);
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let head = lines.next()?.ok()?;
    seen.insert("path".to_owned(), head["target"].as_str()?.to_owned());
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let line = line.ok()?;
        let (name, value) = (line["name"].as_str()?, line["value"].as_str()?);
        let values = headers.entry(name.to_owned()).or_default();
        values.push(value.to_owned());
    }
    for (name, values) in headers {
        if SEEN.contains(&name.as_str())
            && let Some(value) = reported(&name, values.into_iter())
        {
            seen.insert(name, value);
        }
    }
    Some(seen)
}
