//! A running host, which is stopped when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};

use super::answer::{Answer, headers};
use super::{Collector, eventually, shop_components, test_components};

/// Bytes of a response body.
const BODY_MAX: u64 = 256 << 20;

/// A host before its start.
pub struct Galleria {
    paths: Vec<PathBuf>,
    components: PathBuf,
    data: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    shared_cache: bool,
    descriptors: Option<u32>,
    ports: &'static [&'static str],
}

/// A running host.
pub struct Host {
    child: Child,
    /// Its data folder. A folder that the host created is removed with it.
    pub data: PathBuf,
    _own: tempfile::TempDir,
    addresses: Value,
    agent: ureq::Agent,
    stdout: Lines,
    stderr: Lines,
}

/// The exit status and output of a host that has exited or never started.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The lines of a stream that have been read so far.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Galleria {
    /// `galleria run PATH`, with the guests made for tests.
    pub fn run(path: impl Into<PathBuf>) -> Self {
        Self {
            paths: vec![path.into()],
            components: test_components(),
            data: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            shared_cache: true,
            descriptors: None,
            ports: &["--free-ports"],
        }
    }

    /// The shop, started as in the README.
    pub fn shop() -> Self {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
        Self::run(manifests).components(shop_components())
    }

    pub fn components(mut self, folder: impl Into<PathBuf>) -> Self {
        self.components = folder.into();
        self
    }

    /// Keeps its data in `folder`, which is not removed with the host.
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub fn arguments<A: AsRef<str>>(self, arguments: &[A]) -> Self {
        let arguments = arguments.iter();
        arguments.fold(self, |host, argument| host.argument(argument.as_ref()))
    }

    /// Uses a cache of compiled code that no other host shares.
    pub fn without_shared_cache(mut self) -> Self {
        self.shared_cache = false;
        self
    }

    /// Limits the number of open files and sockets, including the hard limit.
    pub fn descriptors(mut self, limit: u32) -> Self {
        self.descriptors = Some(limit);
        self
    }

    /// Binds the ports that are declared.
    pub fn declared_ports(mut self) -> Self {
        self.ports = &[];
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Exports its spans to `collector`.
    pub fn exporting_to(self, collector: &Collector) -> Self {
        let pairs = collector.environment();
        pairs
            .iter()
            .fold(self, |host, (name, value)| host.env(name, value))
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Host {
        let own = tempfile::tempdir().expect("a folder for the host");
        let data = self.data.clone().unwrap_or_else(|| own.path().join("data"));
        let addresses_file = own.path().join("addresses.json");
        let mut command = self.command(&data);
        command.arg("--addresses-file").arg(&addresses_file);
        let mut child = command.spawn().expect("the galleria binary");
        let stdout = Lines::follow(child.stdout.take().expect("piped"));
        let stderr = Lines::follow(child.stderr.take().expect("piped"));
        let addresses = eventually("the host is ready", || {
            if let Some(status) = child.try_wait().expect("the child") {
                panic!(
                    "the host ended with {status} instead of becoming ready:\n{}",
                    stderr.text()
                );
            }
            serde_json::from_slice(&std::fs::read(&addresses_file).ok()?).ok()
        });
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Host {
            child,
            data,
            _own: own,
            addresses,
            agent,
            stdout,
            stderr,
        }
    }

    /// Runs it and expects that it exits by itself.
    #[track_caller]
    pub fn fail(self) -> Output {
        let own = tempfile::tempdir().expect("a folder for the host");
        let data = self.data.clone().unwrap_or_else(|| own.path().join("data"));
        let mut child = self.command(&data).spawn().expect("the galleria binary");
        let stdout = Lines::follow(child.stdout.take().expect("piped"));
        let stderr = Lines::follow(child.stderr.take().expect("piped"));
        let status = eventually("the host exits", || child.try_wait().expect("the child"));
        Output {
            code: status.code(),
            stdout: stdout.finish(),
            stderr: stderr.finish(),
        }
    }

    fn command(&self, data: &Path) -> Command {
        let program = env!("CARGO_BIN_EXE_galleria");
        let mut command = match self.descriptors {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let run = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
                shell.args(["-c", &run, program]);
                shell
            }
        };
        command
            .arg("run")
            .args(&self.paths)
            .arg("--components")
            .arg(&self.components)
            .arg("--data")
            .arg(data)
            .args(self.ports)
            .args(["--status", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.shared_cache {
            command.args(["--cache", env!("CARGO_TARGET_TMPDIR")]);
        }
        command
    }
}

impl Host {
    /// The address of the listener for the declared `port`, including listeners that were
    /// added after the start.
    #[track_caller]
    pub fn listener(&self, port: u16) -> String {
        let of = |listeners: &Value| {
            let listeners = listeners.as_array().expect("listeners");
            let found = listeners.iter().find(|listener| listener["port"] == port);
            found.map(|it| it["address"].as_str().expect("an address").to_owned())
        };
        let now = || of(&self.report()["listeners"]);
        let found = of(&self.addresses["listeners"]).or_else(now);
        found.unwrap_or_else(|| panic!("no listener for port {port}"))
    }

    /// `galleria status -o json`.
    #[track_caller]
    pub fn report(&self) -> Value {
        let output = self.status_page(&["--output", "json"]);
        serde_json::from_str(&output.stdout).expect("JSON")
    }

    /// The objects of `kind` in `galleria status -o json`.
    #[track_caller]
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let report = self.report();
        let objects = report["objects"].as_array().expect("objects").iter();
        objects
            .filter(|object| object["kind"] == kind)
            .cloned()
            .collect()
    }

    /// The object of `kind` with the name `name`.
    #[track_caller]
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let objects = self.objects(kind);
        let found = objects.iter().find(|it| it["metadata"]["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {kind} {name} in {objects:?}"))
            .clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener(80))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    #[track_caller]
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_get(path, headers)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A request that may fail in transit.
    pub fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let mut request = self.agent.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.call()?)
    }

    /// A request without a body, with any method.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let response = self.agent.run(request);
        response
            .and_then(read)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    #[track_caller]
    pub fn post(&self, path: &str, json: &Value) -> Answer {
        let request = self
            .agent
            .post(self.url(path))
            .header("content-type", "application/json");
        let response = request.send(json.to_string());
        response
            .and_then(read)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Posts a form, as a browser does.
    #[track_caller]
    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let response = self.agent.post(self.url(path)).send_form(fields.to_vec());
        response
            .and_then(read)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    pub fn status_address(&self) -> String {
        let address = self.addresses["status"].as_str();
        address.expect("a status address").to_owned()
    }

    pub fn admin_address(&self) -> String {
        let address = self.addresses["admin"].as_str();
        address.expect("an admin address").to_owned()
    }

    /// Requests a path of the status port.
    #[track_caller]
    pub fn status(&self, path: &str) -> Answer {
        let address = self.status_address();
        let response = self.agent.get(format!("http://{address}{path}")).call();
        response
            .and_then(read)
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The metrics, as returned for the header `accept`.
    #[track_caller]
    pub fn metrics_as(&self, accept: &str) -> Answer {
        let url = format!("http://{}/metrics", self.status_address());
        let request = self.agent.get(url).header("accept", accept);
        request.call().and_then(read).expect("metrics")
    }

    /// The sum of the metric's samples whose labels contain all of `labels`, each given
    /// as `name="value"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.status("/metrics").body;
        let samples = metrics.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The access log so far, one object per call.
    pub fn calls(&self) -> Vec<Value> {
        let lines = self.stdout.lines.lock().expect("unpoisoned");
        let objects = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        objects
            .filter(|line| line.get("response_code").is_some())
            .collect()
    }

    /// Waits for a call that satisfies `wanted`.
    #[track_caller]
    pub fn call(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.calls().into_iter().find(&wanted))
    }

    /// Everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Pauses the process (SIGSTOP) while `meanwhile` runs.
    pub fn while_paused<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        let result = meanwhile();
        self.signal("CONT");
        result
    }

    fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits until the process exits.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the host has exited", || {
            self.child.try_wait().expect("the child")
        })
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running child");
        self.child.wait().expect("its end");
    }

    /// `galleria status` for this host.
    pub fn status_page(&self, arguments: &[&str]) -> Output {
        self.galleria(&[&["status"], arguments].concat())
    }

    /// Runs `galleria` with the data folder of this host.
    pub fn galleria(&self, arguments: &[&str]) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .output()
            .expect("the galleria binary");
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of the host\n{}", self.stderr.text());
        }
    }
}

fn read(mut response: Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let body = response.body_mut().with_config().limit(BODY_MAX);
    Ok(Answer {
        body: body.read_to_string()?,
        status: response.status().as_u16(),
        headers: headers(response.headers()),
    })
}

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let sink = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                sink.lock().expect("unpoisoned").push(line);
            }
        });
        Self {
            lines,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.lines.lock().expect("unpoisoned").join("\n")
    }

    /// All lines, after the stream has ended.
    fn finish(mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader");
        }
        self.text()
    }
}
