//! A running host in process.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use serde_json::Value;
use tokio::io::DuplexStream;

use super::components::{shop_components, test_components};
use super::log::Log;
use super::{Answer, Client, eventually};
use crate::app::testing::HostInProcess;

/// The port of the gateway in the tests' manifests.
const GATEWAY: u16 = 80;

/// A host with everything of the binary between a connection and a guest.
pub struct Host {
    host: HostInProcess,
    log: Log,
}

impl Host {
    /// Starts the objects of `yaml`, and waits until every pod is ready.
    pub async fn start(yaml: &str) -> Self {
        Self::start_with(yaml, &[]).await
    }

    /// With further arguments of `galleria run`.
    pub async fn start_with(yaml: &str, arguments: &[&str]) -> Self {
        Self::start_in(&test_components(), yaml, arguments).await
    }

    /// The shop, with further arguments of `galleria run`.
    pub async fn start_shop(arguments: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
        let entries = fs::read_dir(folder).expect("the manifests of the shop");
        let files = entries.map(|entry| entry.expect("a file").path());
        let manifests = files.filter(|file| file.extension().is_some_and(|it| it == "yaml"));
        let read = |file| fs::read_to_string(file).expect("a manifest");
        let yaml: Vec<_> = manifests.map(read).collect();
        Self::start_in(&shop_components(), &yaml.join("\n---\n"), arguments).await
    }

    async fn start_in(components: &Path, yaml: &str, arguments: &[&str]) -> Self {
        let components = format!("--components={}", components.display());
        let cache = format!("--cache={}", cache().display());
        let mut all = vec![components.as_str(), &cache];
        if !arguments.iter().any(|it| it.starts_with("--access-log")) {
            all.push("--access-log=json");
        }
        all.extend(arguments);
        let log = Log::default();
        let host = HostInProcess::start(yaml, &all, log.clone()).await;
        let host = host.unwrap_or_else(|error| panic!("the host does not start: {error:#}"));
        Self { host, log }
    }

    /// Replaces all objects by others, and waits until the change is accepted.
    pub async fn apply(&self, yaml: &str) {
        let reloads = &self.host.metrics.reloads;
        let count = |result| reloads.with_label_values(&[result]).get();
        let before = (count("accepted"), count("rejected"));
        self.host.set(yaml);
        eventually("the changed objects are active", async || {
            assert_eq!(count("rejected"), before.1, "the change is rejected");
            (count("accepted") > before.0).then_some(())
        })
        .await;
    }

    /// Drops instances that were not needed since the last call, as the host does from time
    /// to time.
    pub fn trim(&self) {
        for pod in self.host.health.pods.all().iter() {
            pod.trim();
        }
    }

    /// Stops the host as SIGTERM does. Connections that are still open have some seconds
    /// for one more request, so drop their clients first.
    pub async fn stop(self) {
        self.host.stop().await.expect("a clean end");
    }

    /// A connection to the listener for the declared `port`.
    pub async fn connect(&self, port: u16) -> DuplexStream {
        self.host.connect(port).await.expect("a connection")
    }

    /// An HTTP/1.1 client of that listener.
    pub async fn client(&self, port: u16) -> Client {
        Client::http1(self.connect(port).await).await
    }

    /// An HTTP/2 client of that listener.
    pub async fn http2_client(&self, port: u16) -> Client<http2::SendRequest<Full<Bytes>>> {
        Client::http2(self.connect(port).await).await
    }

    /// A request to the gateway on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers).await
    }

    /// A request without a body, with any method.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut client = self.client(GATEWAY).await;
        client.send(method, path, headers).await
    }

    /// The metrics, as a scraper gets them.
    pub async fn metrics(&self) -> String {
        let stream = self.host.connect_status().await.expect("the status port");
        Client::http1(stream).await.get("/metrics").await.body
    }

    /// The sum of the metric's samples whose labels contain all of `labels`, each given
    /// as `name="value"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let metrics = self.metrics().await;
        let samples = metrics.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits for the count: a call is counted when its body has ended, which its client
    /// may notice earlier.
    pub async fn counted(&self, name: &str, labels: &[&str], count: f64) {
        eventually(&format!("{name} for {labels:?} is {count}"), async || {
            (self.metric(name, labels).await == count).then_some(())
        })
        .await;
    }

    /// The log so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The access log so far, one object per call.
    pub fn calls(&self) -> Vec<Value> {
        let lines = self.log.lines().into_iter();
        lines.filter(is_call).collect()
    }

    /// Waits for a call that satisfies `wanted`.
    pub async fn call(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = |line: &Value| is_call(line) && wanted(line);
        self.log.line(what, wanted).await
    }

    /// The object of `kind` with the name `name`, as the API shows it.
    #[track_caller]
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let (objects, _) = self.host.store.list();
        let found = objects
            .iter()
            .find(|it| it.object.kind == kind && it.object.metadata.name.value == name);
        let found = found.unwrap_or_else(|| panic!("no {kind} {name}"));
        found.to_json()
    }
}

fn is_call(line: &Value) -> bool {
    line.get("response_code").is_some()
}

/// Where compiled guests are stored, for all tests together: the folder that cargo also
/// gives to test programs.
fn cache() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let target = program.ancestors().nth(3).map(Path::to_owned);
    target.expect("target/PROFILE/deps/PROGRAM").join("tmp")
}
