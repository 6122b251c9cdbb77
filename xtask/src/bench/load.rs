//! Load, made by `wrk`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::read;

/// A load to be made.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) url: &'a str,
    pub(super) connections: u32,
    pub(super) length: Duration,
}

/// What `wrk` saw.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) requests_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Answers that were no success, and connections that failed.
    pub(super) errors: u64,
}

impl Load<'_> {
    pub(super) fn run(&self) -> Result<Answers> {
        let threads = self.connections.min(2).to_string();
        let connections = self.connections.to_string();
        let length = format!("{}s", self.length.as_secs().max(1));
        let mut wrk = Command::new("wrk");
        wrk.args([
            "--latency",
            "-t",
            &threads,
            "-c",
            &connections,
            "-d",
            &length,
            self.url,
        ]);
        let printed = read(&mut wrk)?;
        Answers::read(&printed).with_context(|| format!("wrk answered {printed}"))
    }
}

impl Answers {
    fn read(printed: &str) -> Option<Self> {
        let value = |label: &str| {
            let line = printed
                .lines()
                .find(|line| line.trim_start().starts_with(label))?;
            Some(line.trim_start()[label.len()..].trim())
        };
        let numbers = |text: &str| -> u64 {
            let numbers = text.split(|c: char| !c.is_ascii_digit());
            numbers
                .filter_map(|number| number.parse::<u64>().ok())
                .sum()
        };
        Some(Self {
            requests_per_second: value("Requests/sec:")?.parse().ok()?,
            p50: duration(value("50%")?)?,
            p99: duration(value("99%")?)?,
            errors: value("Non-2xx or 3xx responses:").map_or(0, numbers)
                + value("Socket errors:").map_or(0, numbers),
        })
    }
}

fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[number.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let printed = "\
Running 8s test @ http://127.0.0.1:8080/
  2 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.21ms  600.00us  20.00ms   90.00%
    Req/Sec    13.00k     1.00k   15.00k    70.00%
  Latency Distribution
     50%  812.00us
     75%    1.40ms
     90%    1.90ms
     99%    3.25ms
  211000 requests in 8.00s, 30.00MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 12
Requests/sec:  26375.41
Transfer/sec:      3.75MB
";
        let answers = Answers::read(printed).expect("it is what wrk prints");
        assert_eq!(answers.requests_per_second, 26375.41);
        assert_eq!(answers.p50, Duration::from_micros(812));
        assert_eq!(answers.p99, Duration::from_micros(3250));
        assert_eq!(answers.errors, 16);
    }
}
