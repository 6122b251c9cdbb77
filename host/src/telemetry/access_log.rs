//! One line per call, and per connection that is passed through: Envoy's fields and flags,
//! with the trace id.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use galleria_mesh::grpc::is_grpc;
use galleria_mesh::{ResponseFlags, Workload};
use http::{HeaderMap, HeaderName, Method, Version, header};
use serde::{Serialize, Serializer};

use super::readable;
use super::sink::Sink;
use crate::settings::telemetry::AccessLogFormat;

/// Characters of a client's header that a line contains.
const HEADER_MAX: usize = 256;
/// Characters of a path that a line contains.
const PATH_MAX: usize = 2_048;

/// Bytes of a typical line: its buffer is not reallocated.
const LINE_USUAL: usize = 1_024;

/// Where calls are logged.
#[derive(Clone)]
pub(crate) struct AccessLog {
    sink: Sink,
    format: AccessLogFormat,
}

/// Facts about a request, taken before it is forwarded and kept for its line.
pub(crate) struct RequestFacts {
    pub start: SystemTime,
    pub method: Method,
    pub path: String,
    pub protocol: Version,
    /// `http` or `https`.
    pub scheme: &'static str,
    pub is_grpc: bool,
    pub authority: String,
    pub user_agent: Option<String>,
    pub forwarded_for: Option<String>,
    pub client: Option<IpAddr>,
    /// The name that the client has requested in its TLS handshake.
    pub server_name: Option<Arc<str>>,
}

/// When a request arrived: RFC 3339 with milliseconds, as Envoy writes `START_TIME`.
pub(crate) struct StartTime(pub SystemTime);

/// The id of a trace: 32 hexadecimal digits.
pub(crate) struct TraceId(pub u128);

/// `namespace/workload`.
pub(crate) struct QualifiedName<'a>(pub &'a Workload);

/// One line. Unknown values are null.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Line<'a> {
    /// When the request arrived, in RFC 3339, with milliseconds.
    #[serde(serialize_with = "displayed")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub start_time: StartTime,
    /// The request's method. Like everything of a request, null for a connection that is passed
    /// through without being decrypted.
    pub method: Option<&'a str>,
    /// Path and query as the caller sent them, at most 2,048 characters.
    pub path: Option<&'a str>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: Option<&'a str>,
    /// The status of the response; 0 if the caller disconnected before there was one.
    pub response_code: u16,
    /// Envoy's flags, joined by commas, or `-`.
    #[serde(serialize_with = "displayed")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub response_flags: ResponseFlags,
    /// `via_upstream`, or why the mesh itself responded.
    pub response_code_details: Option<&'a str>,
    /// The policy that refused a connection that would be passed through, or `idle_timeout`.
    pub connection_termination_details: Option<&'a str>,
    /// Why the connection to another host, or to the server of a connection that is passed
    /// through, failed.
    pub upstream_transport_failure_reason: Option<&'a str>,
    /// Bytes of the request's body that were read, or of the connection's client.
    pub bytes_received: u64,
    /// Bytes of the response's body, or of the connection's server.
    pub bytes_sent: u64,
    /// Milliseconds from the request's arrival to the end of the response.
    pub duration: u64,
    /// Milliseconds until the response's head arrived from the endpoint.
    pub upstream_service_time: Option<u64>,
    /// The header `x-forwarded-for`, at most 256 characters.
    pub x_forwarded_for: Option<&'a str>,
    /// The header `user-agent`, at most 256 characters.
    pub user_agent: Option<&'a str>,
    /// The `x-request-id`, the same at every hop.
    pub request_id: Option<&'a str>,
    /// The host that the request addresses.
    pub authority: Option<&'a str>,
    /// The endpoint of the last attempt: `namespace/pod` here, `host:port` elsewhere.
    pub upstream_host: Option<&'a str>,
    /// The destination: `outbound|PORT|SUBSET|HOST`; `inbound|PORT||` for requests
    /// forwarded by another host.
    pub upstream_cluster: Option<&'a str>,
    /// From Envoy; the pool chooses the connection.
    pub upstream_local_address: Option<&'a str>,
    /// From Envoy; a listener has one address.
    pub downstream_local_address: Option<&'a str>,
    /// The name that the client requested in its TLS handshake (SNI).
    pub requested_server_name: Option<&'a str>,
    /// The client's address.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub downstream_remote_address: Option<IpAddr>,
    /// The name of the rule that matched the request.
    pub route_name: Option<&'a str>,
    /// Attempts of the call.
    pub attempts: u32,
    /// `namespace/workload` of a caller inside the mesh.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub source_workload: Option<QualifiedName<'a>>,
    /// `namespace/workload` that responded.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub destination_workload: Option<QualifiedName<'a>>,
    /// The trace that the request belongs to.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub trace_id: Option<TraceId>,
}

impl AccessLog {
    pub(crate) fn new(sink: Sink, format: AccessLogFormat) -> Self {
        Self { sink, format }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.format != AccessLogFormat::Off
    }

    pub(crate) fn write(&self, line: &Line<'_>) {
        match self.format {
            AccessLogFormat::Off => {}
            AccessLogFormat::Json => {
                let mut json = Vec::with_capacity(LINE_USUAL);
                match serde_json::to_writer(&mut json, line) {
                    Ok(()) => self.sink.line(&json),
                    Err(error) => tracing::error!(%error, "cannot write an access log line"),
                }
            }
            AccessLogFormat::Readable => self.sink.line(readable::call(line).as_bytes()),
            AccessLogFormat::Text => self.sink.line(line.text().as_bytes()),
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
                    .map_or("-", |path| path.as_str()),
                PATH_MAX,
            ),
            protocol: request.version(),
            scheme: match request.uri().scheme_str() {
                Some("https") => "https",
                _ => "http",
            },
            is_grpc: is_grpc(headers),
            authority: authority
                .or_else(|| text(headers, &header::HOST))
                .unwrap_or_default(),
            user_agent: text(headers, &header::USER_AGENT),
            forwarded_for: text(headers, &HeaderName::from_static("x-forwarded-for")),
            client,
            server_name: None,
        }
    }
}

impl RequestFacts {
    /// In OpenTelemetry's notation.
    pub(crate) fn protocol_version(&self) -> &'static str {
        match self.protocol {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        }
    }

    /// `package.Service` and `Method` of a gRPC call.
    pub(crate) fn grpc_method(&self) -> Option<(&str, &str)> {
        let path = self.path.strip_prefix('/').filter(|_| self.is_grpc)?;
        path.split_once('/')
    }
}

impl Line<'_> {
    /// The details of the response, or of the connection.
    fn details(&self) -> &str {
        let details = self.response_code_details;
        let details = details.or(self.connection_termination_details);
        details.unwrap_or("-")
    }

    /// Envoy's default format.
    fn text(&self) -> String {
        let time = self.upstream_service_time.map(|time| time.to_string());
        format!(
            "[{}] \"{} {} {}\" {} {} {} - \"{}\" {} {} {} {} \"{}\" \"{}\" \"{}\" \"{}\" \"{}\" {} - - {} {} {}",
            self.start_time,
            self.method.unwrap_or("-"),
            quoted(self.path.unwrap_or("-")),
            self.protocol.unwrap_or("-"),
            self.response_code,
            self.response_flags,
            self.details(),
            quoted(self.upstream_transport_failure_reason.unwrap_or("-")),
            self.bytes_received,
            self.bytes_sent,
            self.duration,
            time.as_deref().unwrap_or("-"),
            quoted(self.x_forwarded_for.unwrap_or("-")),
            quoted(self.user_agent.unwrap_or("-")),
            self.request_id.unwrap_or("-"),
            quoted(self.authority.unwrap_or("-")),
            self.upstream_host.unwrap_or("-"),
            self.upstream_cluster.unwrap_or("-"),
            optional(self.downstream_remote_address.as_ref()),
            self.requested_server_name.unwrap_or("-"),
            self.route_name.unwrap_or("-"),
        )
    }
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

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .map(|value| cut(&String::from_utf8_lossy(value.as_bytes()), HEADER_MAX))
}

fn cut(text: &str, max: usize) -> String {
    // A text has at most as many characters as bytes; nearly all texts are short and
    // copied as a whole.
    if text.len() <= max {
        return text.to_owned();
    }
    text.chars().take(max).collect()
}

/// A value, or `-`.
fn optional<T: fmt::Display>(value: Option<&T>) -> impl fmt::Display {
    fmt::from_fn(move |f| match value {
        Some(value) => value.fmt(f),
        None => f.write_str("-"),
    })
}

/// Serializes what `Display` writes, without a text in between.
fn displayed<T: fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

impl fmt::Display for StartTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::try_from(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("-"),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for QualifiedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        displayed(self, to)
    }
}

impl Serialize for QualifiedName<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        displayed(self, to)
    }
}

/// Quotes and line feeds would allow a client to forge fields and lines.
fn quoted(text: &str) -> String {
    text.chars().flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognised_by_its_content_type() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
            is_grpc(&headers)
        };
        assert!(of("application/grpc") && of("application/grpc+proto"));
        assert!(!of("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
