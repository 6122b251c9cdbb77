//! A server that takes part in a race, and one measurement of it.

use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::load::{self, Load};
use crate::server::{Server, resident_bytes};

/// Connections of the throughput measurement.
const CONNECTIONS: u32 = 32;
/// Load before the measurement, so that caches, pools and connections are warm.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long a contender idles before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// One way to serve the page of a race.
pub(super) struct Contender {
    pub(super) name: &'static str,
    start: Box<dyn Fn() -> Result<Running>>,
}

/// A running contender. Dropping it ends its processes.
pub(super) struct Running {
    /// The requested page.
    pub(super) url: String,
    pub(super) servers: Vec<Server>,
}

/// The result of one measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) requests_per_second: f64,
    pub(super) p99: Duration,
    /// The median response time with one connection.
    pub(super) p50_alone: Duration,
    pub(super) errors: u64,
    /// Memory of all processes of the idle contender.
    pub(super) resident_bytes: u64,
}

impl Contender {
    pub(super) fn new(name: &'static str, start: impl Fn() -> Result<Running> + 'static) -> Self {
        Self {
            name,
            start: Box::new(start),
        }
    }

    /// Starts, measures and stops the contender.
    pub(super) fn round(&self, length: Duration) -> Result<Round> {
        let running = (self.start)()?;
        thread::sleep(SETTLE);
        let resident_bytes = resident_bytes(&running.servers)?;
        let url = &running.url;
        Load {
            url,
            connections: CONNECTIONS,
            length: WARM_UP,
        }
        .run()?;
        let busy = Load {
            url,
            connections: CONNECTIONS,
            length,
        }
        .run()?;
        let alone = Load {
            url,
            connections: 1,
            length: length / 2,
        }
        .run()?;
        let load::Answers {
            requests_per_second,
            p99,
            ..
        } = busy;
        let errors = busy.errors + alone.errors;
        Ok(Round {
            requests_per_second,
            p99,
            p50_alone: alone.p50,
            errors,
            resident_bytes,
        })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} requests/s, p99 {:.2?}, p50 alone {:.2?}, {} errors, {} MiB idle",
            self.requests_per_second,
            self.p99,
            self.p50_alone,
            self.errors,
            self.resident_bytes >> 20,
        )
    }
}
