//! A Prometheus that scrapes hosts every second with the rules of `deploy/prometheus`; it
//! is stopped when it is dropped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use super::{PATIENCE, eventually};

pub struct Prometheus {
    process: Child,
    _folder: tempfile::TempDir,
    address: String,
    agent: ureq::Agent,
}

impl Prometheus {
    /// Scrapes `targets`, each `ADDRESS:PORT`, under the job name that the rules use.
    pub fn scraping(targets: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{}]
scrape_configs:
  - {{job_name: galleria, static_configs: [{{targets: {targets:?}}}]}}
",
            rules.display()
        );
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config).expect("a file");
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus; install it with `apt-get install prometheus`");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let (sender, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                    let _ = sender.send(address.trim().to_owned());
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).expect("it listens");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let server = Self {
            process,
            _folder: folder,
            address,
            agent,
        };
        // It listens before it has loaded its data.
        eventually("Prometheus answers", || server.query("1").ok());
        server
    }

    /// The current series of `query`, or an error message.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get("query", &[("query", query)])?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// The response of `/api/v1/PATH`.
    pub fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let request = parameters
            .iter()
            .fold(self.agent.get(url), |request, (name, value)| {
                request.query(*name, *value)
            });
        let mut response = request.call().map_err(|error| error.to_string())?;
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
