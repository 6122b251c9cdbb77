//! Tables of requests over two real hosts: each row is sent by a client outside, by a guest in
//! the process of the service, and by a guest in another host. The answer, the access log, the
//! metrics and `galleria explain` agree.

mod authorization;
#[path = "../../mesh/tests/simulation/issuer.rs"]
mod issuer;
mod network;
mod tokens;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::support::{Galleria, Host, MeshAuthority, apart, eventually};

/// The port of the first workload; each has its own, so that one host can have several.
const FIRST_PORT: u16 = 9001;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    SameHost,
    OtherHost,
}

const PLACES: [Place; 3] = [Place::Outside, Place::SameHost, Place::OtherHost];

/// A host with the gateway and the workloads `near`, and one with the workloads `far`.
struct Hosts {
    near: Host,
    far: Host,
    _folder: tempfile::TempDir,
    _authority: MeshAuthority,
}

/// A GET request for a service.
#[derive(Debug, Clone)]
struct Request {
    /// The name of the service if it is empty.
    authority: String,
    /// With the query.
    path: String,
    headers: Vec<(String, String)>,
}

#[derive(Debug)]
struct Answered {
    status: u16,
    body: String,
}

/// What the access log must have for each row, by its id: the status, and how the details
/// begin.
#[derive(Debug, Default)]
struct ExpectedLines(BTreeMap<String, (u16, String)>);

impl Hosts {
    /// Starts workloads that all have the port 8080.
    fn start(manifest: &str, near: &[&str], far: &[&str]) -> Self {
        let all: Vec<_> = near.iter().chain(far).copied().collect();
        Self::start_as_written(&with_ports(manifest, &all), near, far)
    }

    fn start_as_written<S: AsRef<str>>(manifest: &str, near: &[S], far: &[S]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
        let authority = MeshAuthority::new();
        let pods = [near, far].map(|names| {
            let names: Vec<_> = names.iter().map(|name| name.as_ref().to_owned()).collect();
            let pod = apart::Pod::of(&names.join(","));
            (names, pod)
        });
        let peers = pods.iter().flat_map(|(names, pod)| {
            let address = pod.address();
            let peer = move |name: &String| format!("--peer={name}={address}");
            names.iter().map(peer)
        });
        let peers: Vec<_> = peers.collect();
        let [(_, near), (_, far)] = &pods;
        let host = |pod: &apart::Pod| {
            let host = Galleria::run(folder.path()).declared_ports();
            let host = host.arguments(&peers).arguments(&pod.arguments());
            host.argument(&authority.argument())
        };
        Self {
            far: host(far).start(),
            near: host(near).argument("--gateway").start(),
            _folder: folder,
            _authority: authority,
        }
    }

    /// Sends a row to `service`: a guest that sends it is `caller`, or `far-CALLER` in the
    /// other host.
    fn ask(&self, place: Place, caller: &str, service: &str, request: &Request) -> Answered {
        let authority = match request.authority.as_str() {
            "" => service,
            authority => authority,
        };
        match place {
            Place::Outside => {
                let headers = request.headers.iter();
                let mut headers: Vec<_> = headers.map(|(a, b)| (a.as_str(), b.as_str())).collect();
                headers.push(("host", authority));
                let path = format!("/{service}{}", request.path);
                let answer = self.near.get_with(&path, &headers);
                Answered {
                    status: answer.status,
                    body: answer.body,
                }
            }
            Place::SameHost => self.through(caller, authority, request),
            Place::OtherHost => self.through(&format!("far-{caller}"), authority, request),
        }
    }

    /// Lets the guest behind the route `/ROUTE/` send a request.
    fn through(&self, route: &str, authority: &str, request: &Request) -> Answered {
        let url = encoded(&format!("http://{authority}{}", request.path));
        let mut page = format!("/{route}/?url={url}");
        for (name, value) in &request.headers {
            let _ = write!(page, "&header={}", encoded(&format!("{name}:{value}")));
        }
        let answer = self.near.get(&page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        let status = answer.header("x-upstream-status").parse();
        Answered {
            status: status.expect("a status"),
            body: answer.body,
        }
    }

    /// Waits until the access logs of the hosts have all of these lines.
    #[track_caller]
    fn have_logged(&self, expected: &ExpectedLines) {
        let mut shown = usize::MAX;
        let logged = || {
            let mut lines = BTreeMap::<String, Vec<(u16, String)>>::new();
            for call in [&self.near, &self.far].into_iter().flat_map(Host::calls) {
                let path = call["path"].as_str().unwrap_or_default();
                let Some((_, id)) = path.rsplit_once("row=") else {
                    continue;
                };
                let status = call["response_code"].as_u64().unwrap_or_default();
                let details = call["response_code_details"].as_str().unwrap_or_default();
                let line = (u16::try_from(status).expect("a status"), details.to_owned());
                lines.entry(id.to_owned()).or_default().push(line);
            }
            lines
        };
        eventually("every row is in the access log", || {
            let lines = logged();
            let is_missing = |(id, line): &(&String, &(u16, String))| {
                let matches = |(status, details): &(u16, String)| {
                    *status == line.0 && details.starts_with(&line.1)
                };
                !lines
                    .get(*id)
                    .is_some_and(|lines| lines.iter().any(matches))
            };
            let found = expected.0.iter().filter(is_missing);
            let found = found.map(|(id, line)| (id.clone(), line.clone(), lines.get(id).cloned()));
            let missing: Vec<_> = found.collect();
            // The hosts write the lines of a call at different times.
            let is_begun = expected.0.keys().all(|id| lines.contains_key(id));
            if is_begun && missing.len() < shown {
                shown = missing.len();
                eprintln!("missing: {missing:#?}");
            }
            missing.is_empty().then_some(())
        });
    }

    /// Requests to a workload with this status, as its side counts them.
    fn counted(&self, workload: &str, status: u16) -> f64 {
        let labels = [
            "reporter=\"destination\"",
            &format!("destination_workload=\"{workload}\""),
            &format!("response_code=\"{status}\""),
        ];
        let hosts = [&self.near, &self.far];
        let counts = hosts.map(|host| host.metric("istio_requests_total", &labels));
        counts.iter().sum()
    }

    /// What `galleria explain` prints about a row.
    fn explain(&self, place: Place, caller: &str, service: &str, request: &Request) -> String {
        let (prefix, authority) = match (place, request.authority.as_str()) {
            (Place::Outside, _) => (format!("/{service}"), self.near.listener(80)),
            (_, "") => (String::new(), service.to_owned()),
            (_, authority) => (String::new(), authority.to_owned()),
        };
        let url = format!("http://{authority}{prefix}{}", request.path);
        let mut arguments = vec!["explain".to_owned(), "--url".to_owned(), url];
        for (name, value) in &request.headers {
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        match place {
            Place::Outside => {
                let host = match request.authority.as_str() {
                    "" => service,
                    authority => authority,
                };
                arguments.extend(["-H".to_owned(), format!("host: {host}")]);
            }
            Place::SameHost => arguments.extend(["--from".to_owned(), format!("test/{caller}")]),
            Place::OtherHost => {
                arguments.extend(["--from".to_owned(), format!("test/far-{caller}")]);
            }
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        // Each host knows its own workloads.
        let host = match place {
            Place::OtherHost => &self.far,
            Place::Outside | Place::SameHost => &self.near,
        };
        let output = host.galleria(&arguments);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    }
}

impl Request {
    fn new(path: &str) -> Self {
        Self {
            authority: String::new(),
            path: path.to_owned(),
            headers: Vec::new(),
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with its id at the end of the query.
    fn with_id(mut self, id: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let _ = write!(self.path, "{separator}row={id}");
        self
    }
}

impl ExpectedLines {
    fn add(&mut self, id: &str, status: u16, details: &str) {
        self.0.insert(id.to_owned(), (status, details.to_owned()));
    }
}

/// Gives each workload a port of its own.
fn with_ports(manifest: &str, workloads: &[&str]) -> String {
    let documents = manifest.split("---\n").map(|document| {
        let is_of = |name: &&str| {
            let is_kind = ["kind: Service\n", "kind: Deployment\n"]
                .iter()
                .any(|kind| document.contains(kind));
            is_kind && document.contains(&format!("metadata: {{name: {name}, namespace: test}}"))
        };
        let Some(number) = workloads.iter().position(is_of) else {
            return document.to_owned();
        };
        let port = FIRST_PORT + u16::try_from(number).expect("few workloads");
        document.replace("8080", &port.to_string())
    });
    documents.collect::<Vec<_>>().join("---\n")
}

fn encoded(text: &str) -> String {
    let mut written = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                written.push(char::from(byte));
            }
            _ => {
                let _ = write!(written, "%{byte:02X}");
            }
        }
    }
    written
}
