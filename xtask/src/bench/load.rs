//! Load: `wrk`, whose connections send the next request when they have the response to the
//! last one, k6, whose requests start at a constant rate, and a client that opens a connection
//! for each request.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::{Metric, Sample};
use crate::process::read;

const WRK_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../loadtest/wrk/results.lua");
const K6_SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../loadtest/open-loop/arrivals.js"
);

/// The responses to a load.
#[derive(Debug)]
pub(super) struct Answers {
    /// Those with a response; with k6, only those that were served.
    pub(super) requests: f64,
    pub(super) sample: Sample,
}

/// What loadtest/wrk/results.lua and loadtest/handshakes/client.rs print; times in
/// microseconds.
#[derive(Debug, Deserialize)]
struct LoopResults {
    requests: f64,
    microseconds: f64,
    failed: f64,
    p50: f64,
    p99: f64,
    p99_9: f64,
}

/// What loadtest/open-loop/arrivals.js prints; times in milliseconds.
#[derive(Debug, Deserialize)]
struct K6Results {
    served: f64,
    /// Of those, the ones that were served while requests were being sent.
    in_time: f64,
    refused: f64,
    failed: f64,
    dropped: f64,
    p50: f64,
    p99: f64,
    p99_9: f64,
}

/// A closed loop. One thread of `wrk` leaves the same cores to every server. `headers` are
/// sent with every request, each as `name: value`.
pub(super) fn closed_loop(
    url: &str,
    headers: &[String],
    connections: u32,
    length: Duration,
) -> Result<Answers> {
    let mut wrk = Command::new("wrk");
    wrk.args(headers.iter().flat_map(|header| ["-H", header]));
    wrk.args(["-t1", "-c", &connections.to_string()]);
    wrk.args(["-d", &format!("{}s", length.as_secs().max(1))]);
    let printed = read(wrk.args(["-s", WRK_SCRIPT, url]))?;
    let results: LoopResults = last_line(&printed)?;
    Ok(results.answers())
}

/// How the handshakes of a load begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    Full,
    /// With a ticket from the last connection.
    Resumed,
}

impl Handshake {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

/// A closed loop of connections with TLS, each for one request.
pub(super) fn handshakes(
    client: &Path,
    address: SocketAddr,
    kind: Handshake,
    workers: u32,
    length: Duration,
) -> Result<Answers> {
    let mut load = Command::new(client);
    load.args([&address.to_string(), kind.name(), &workers.to_string()]);
    load.arg(length.as_secs().max(1).to_string());
    let results: LoopResults = last_line(&read(&mut load)?)?;
    Ok(results.answers())
}

/// An open loop: `rate` requests per second, however long the responses take.
pub(super) fn open_loop(k6: &Path, url: &str, rate: f64, length: Duration) -> Result<Answers> {
    let mut arrivals = Command::new(k6);
    arrivals.args(["run", "--quiet", "--no-usage-report", "--address", ""]);
    for variable in [
        format!("URL={url}"),
        format!("RATE={rate:.0}"),
        format!("SECONDS={}", length.as_secs()),
    ] {
        arrivals.arg("-e").arg(variable);
    }
    let printed = read(arrivals.arg(K6_SCRIPT))?;
    let results: K6Results = last_line(&printed)?;
    Ok(results.answers(length))
}

fn last_line<'a, T: Deserialize<'a>>(printed: &'a str) -> Result<T> {
    let line = printed.trim_end().lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("the load generator printed {printed}"))
}

impl LoopResults {
    fn answers(&self) -> Answers {
        let seconds = self.microseconds / 1e6;
        Answers {
            requests: self.requests,
            sample: Sample::from([
                (Metric::RequestsPerSecond, self.requests / seconds),
                (Metric::P50Milliseconds, self.p50 / 1e3),
                (Metric::P99Milliseconds, self.p99 / 1e3),
                (Metric::P999Milliseconds, self.p99_9 / 1e3),
                (Metric::Errors, self.failed),
            ]),
        }
    }
}

impl K6Results {
    fn answers(&self, length: Duration) -> Answers {
        let seconds = length.as_secs_f64();
        Answers {
            requests: self.served,
            sample: Sample::from([
                (Metric::RequestsPerSecond, self.in_time / seconds),
                (Metric::RefusedPerSecond, self.refused / seconds),
                (Metric::P50Milliseconds, self.p50),
                (Metric::P99Milliseconds, self.p99),
                (Metric::P999Milliseconds, self.p99_9),
                (Metric::Errors, self.failed),
                (Metric::NotSent, self.dropped),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_wrk_is_parsed() {
        let printed = "\
Running 8s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
Transfer/sec:      3.75MB
{\"requests\":16000,\"microseconds\":8000000,\"failed\":16,\"p50\":812,\"p99\":3250,\"p99_9\":9000}
";
        let results: LoopResults = last_line(printed).unwrap();
        let answers = results.answers();
        assert_eq!(answers.requests, 16000.0);
        assert_eq!(answers.sample[&Metric::RequestsPerSecond], 2000.0);
        assert_eq!(answers.sample[&Metric::P50Milliseconds], 0.812);
        assert_eq!(answers.sample[&Metric::P999Milliseconds], 9.0);
        assert_eq!(answers.sample[&Metric::Errors], 16.0);
    }
}
