//! One line per call: Envoy's fields and flags, with the trace id.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Method, Version, header};
use serde::Serialize;

use super::sink::Sink;
use crate::context::RequestContext;

/// Characters of a client's header that a line shows.
const HEADER_MAX: usize = 256;
/// Characters of a path that a line shows.
const PATH_MAX: usize = 2_048;

/// How lines are written (`--access-log`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object per line.
    Json,
    /// Envoy's default text form.
    Text,
    Off,
}

/// Where calls are logged.
#[derive(Clone)]
pub(crate) struct AccessLog {
    sink: Sink,
    format: Format,
}

/// What is known of a request before it is passed on, kept for its line.
pub(crate) struct RequestFacts {
    pub start: SystemTime,
    pub method: Method,
    pub path: String,
    pub protocol: Version,
    pub authority: String,
    pub user_agent: Option<String>,
    pub forwarded_for: Option<String>,
    pub client: Option<IpAddr>,
}

/// One line.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    pub start_time: String,
    pub method: &'a str,
    pub path: &'a str,
    pub protocol: &'a str,
    pub response_code: u16,
    pub response_flags: String,
    pub response_code_details: &'a str,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Milliseconds.
    pub duration: u64,
    /// Milliseconds until the response head came from the endpoint.
    pub upstream_service_time: Option<u64>,
    pub x_forwarded_for: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub request_id: &'a str,
    pub authority: &'a str,
    pub upstream_host: Option<&'a str>,
    pub upstream_cluster: Option<&'a str>,
    pub downstream_remote_address: Option<String>,
    pub route_name: Option<&'a str>,
    pub attempts: u32,
    /// `namespace/workload` of a caller inside the mesh.
    pub source_workload: Option<String>,
    pub destination_workload: Option<String>,
    pub trace_id: String,
}

impl AccessLog {
    pub(crate) fn new(sink: Sink, format: Format) -> Self {
        Self { sink, format }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.format != Format::Off
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        match self.format {
            Format::Off => {}
            Format::Json => match serde_json::to_vec(line) {
                Ok(json) => self.sink.line(&json),
                Err(error) => tracing::error!(%error, "an access log line could not be written"),
            },
            Format::Text => self.sink.line(line.text().as_bytes()),
        }
    }
}

impl RequestFacts {
    pub(crate) fn of<B>(request: &http::Request<B>, client: Option<IpAddr>) -> Self {
        let headers = request.headers();
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str().to_owned());
        Self {
            start: SystemTime::now(),
            method: request.method().clone(),
            path: cut(
                request
                    .uri()
                    .path_and_query()
                    .map_or("/", |path| path.as_str()),
                PATH_MAX,
            ),
            protocol: request.version(),
            authority: authority
                .or_else(|| text(headers, &header::HOST))
                .unwrap_or_default(),
            user_agent: text(headers, &header::USER_AGENT),
            forwarded_for: text(headers, &HeaderName::from_static("x-forwarded-for")),
            client,
        }
    }
}

impl Line<'_> {
    /// Envoy's default format.
    fn text(&self) -> String {
        let time = self.upstream_service_time.map(|time| time.to_string());
        format!(
            "[{}] \"{} {} {}\" {} {} {} - \"-\" {} {} {} {} \"{}\" \"{}\" \"{}\" \"{}\" \"{}\" {} - - {} - {}",
            self.start_time,
            self.method,
            quoted(self.path),
            self.protocol,
            self.response_code,
            self.response_flags,
            self.response_code_details,
            self.bytes_received,
            self.bytes_sent,
            self.duration,
            time.as_deref().unwrap_or("-"),
            quoted(self.x_forwarded_for.unwrap_or("-")),
            quoted(self.user_agent.unwrap_or("-")),
            self.request_id,
            quoted(self.authority),
            self.upstream_host.unwrap_or("-"),
            self.upstream_cluster.unwrap_or("-"),
            self.downstream_remote_address.as_deref().unwrap_or("-"),
            self.route_name.unwrap_or("-"),
        )
    }
}

/// RFC 3339 with milliseconds, as Envoy writes `START_TIME`.
pub(crate) fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "-".into(), |time| format!("{time:.3}"))
}

pub(crate) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn trace_id(context: &RequestContext) -> String {
    format!("{:032x}", context.trace.trace_id)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .map(|value| cut(&String::from_utf8_lossy(value.as_bytes()), HEADER_MAX))
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

/// Quotes and line feeds would let a client forge fields and lines.
fn quoted(text: &str) -> String {
    text.chars().flat_map(char::escape_default).collect()
}
