//! `pods/log`: the output of a pod's guests that is still stored.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use futures::stream;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Api;
use super::failure::Failure;
use super::flag::Flag;
use super::path::Resource;
use crate::workload::{LogLine, PodLog};

/// The parameters of `pods/log`, those of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogOptions {
    container: String,
    follow: Flag,
    previous: Flag,
    timestamps: Flag,
    tail_lines: Option<usize>,
    since_seconds: Option<u32>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<usize>,
}

/// Which lines a client gets, and in which form.
struct Output {
    since: Option<Timestamp>,
    with_times: bool,
    /// Bytes that may still be sent.
    left: usize,
}

/// A client that waits for more lines.
struct Follower {
    log: Weak<PodLog>,
    newest: watch::Receiver<u64>,
    seen: u64,
    ready: VecDeque<LogLine>,
    output: Output,
    _slot: OwnedSemaphorePermit,
}

impl Api {
    /// # Errors
    /// The pod does not exist, or has no such container or no previous run.
    pub(super) fn log(
        &self,
        request: &Parts,
        resource: &Resource,
        pod: &str,
    ) -> Result<Response<Body>, Failure> {
        let options = Query::<LogOptions>::try_from_uri(&request.uri);
        let Query(options) = options.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let key = super::write::key(resource, pod);
        let stored = self.stored(resource, &key)?;
        let container = &stored.object.raw["spec"]["containers"][0]["name"];
        if !options.container.is_empty() && *container != *options.container {
            return Err(Failure::BadRequest(format!(
                "container {} is not valid for pod {pod}",
                options.container
            )));
        }
        // A pod that has not started has no log yet.
        let log = self.logs.of(&key.namespace, pod);
        let mut lines = match (&log, options.previous.is_set()) {
            (Some(log), false) => log.present(),
            (Some(log), true) => log.previous().ok_or_else(|| {
                Failure::BadRequest(format!(
                    "previous terminated container {container} in pod \"{pod}\" not found"
                ))
            })?,
            (None, _) => Vec::new(),
        };
        let seen = lines.last().map_or(0, |line| line.number);
        let seconds = options.since_seconds;
        let ago = |seconds| Timestamp::now() - SignedDuration::from_secs(i64::from(seconds));
        let mut output = Output {
            since: options.since_time.or_else(|| seconds.map(ago)),
            with_times: options.timestamps.is_set(),
            left: options.limit_bytes.unwrap_or(usize::MAX),
        };
        lines.retain(|line| output.since.is_none_or(|since| line.at >= since));
        if let Some(tail) = options.tail_lines {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let body = match log {
            Some(log) if options.follow.is_set() => {
                let slot = self.watches.clone().try_acquire_owned();
                let slot = slot.map_err(|_| Failure::TooManyRequests("too many watches"))?;
                let follower = Follower {
                    newest: log.newest(),
                    log: Arc::downgrade(&log),
                    seen,
                    ready: lines.into(),
                    output,
                    _slot: slot,
                };
                Body::from_stream(stream::unfold(follower, |mut follower| async move {
                    let line = follower.next().await?;
                    Some((Ok::<_, Infallible>(line), follower))
                }))
            }
            _ => {
                let lines = lines.iter().map_while(|line| output.text(line));
                Body::from(lines.collect::<Vec<_>>().concat())
            }
        };
        let mut response = Response::new(body);
        let text = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        Ok(response)
    }
}

impl Output {
    /// A line as it is sent; none after the last byte that may be sent.
    fn text(&mut self, line: &LogLine) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut text = match self.with_times {
            true => format!("{:.9} {}\n", line.at, line.text).into_bytes(),
            false => format!("{}\n", line.text).into_bytes(),
        };
        text.truncate(self.left);
        self.left -= text.len();
        Some(text.into())
    }
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.seen = line.number;
                return self.output.text(&line);
            }
            {
                // Dropped right away: the follower ends when the pod drops its log.
                let log = self.log.upgrade()?;
                self.newest.mark_unchanged();
                self.ready.extend(log.after(self.seen));
            }
            if self.ready.is_empty() {
                self.newest.changed().await.ok()?;
            }
        }
    }
}
