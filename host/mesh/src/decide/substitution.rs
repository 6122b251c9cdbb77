//! Values of headers that a route writes, with Envoy's substitutions.
//!
//! They are compiled with the snapshot, and a value without them is only copied. As in Envoy, a
//! value that turns out empty is not written: the header stays as it was.

mod start_time;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use galleria_manifest::model::{HeaderPart, Operator, header_parts};
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, StatusCode, Version, request};

use super::query;
use crate::{RequestHead, ResponseFlags};

/// A value as the manifest has it.
#[derive(Debug, Clone)]
pub(crate) enum HeaderText {
    Literal(HeaderValue),
    Format(Vec<HeaderPart>),
}

/// What the host knows about a call, as an extension of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// When the request arrived, since 1970.
    pub start: Duration,
    /// In hexadecimal.
    pub trace_id: String,
}

/// The request of a route whose headers have substitutions.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    method: String,
    scheme: String,
    authority: String,
    /// With its query, before the rewrite.
    path: String,
    source_ip: Option<IpAddr>,
    port: u16,
    route: String,
    cluster: Option<String>,
    sent: OnceLock<SentFacts>,
}

/// The request after the route has changed it.
#[derive(Debug)]
struct SentFacts {
    authority: String,
    path: String,
    headers: HeaderMap,
    version: Option<Version>,
    call: Option<CallFacts>,
}

/// The head whose headers are written.
pub(crate) struct Message<'a> {
    facts: &'a RequestFacts,
    version: Option<Version>,
    call: Option<&'a CallFacts>,
    response: Option<ResponseHead<'a>>,
}

struct ResponseHead<'a> {
    status: StatusCode,
    /// Envoy's value for its own replies is 0.
    code: u16,
    flags: ResponseFlags,
    sent: Option<&'a SentFacts>,
}

impl HeaderText {
    /// `None` if it is not valid, which the manifest's reader reports. Without `substitutes`,
    /// `%` is an ordinary character.
    pub(crate) fn new(text: &str, substitutes: bool) -> Option<Self> {
        if !substitutes || !text.contains('%') {
            return HeaderValue::from_str(text).ok().map(Self::Literal);
        }
        let parts = header_parts(text).ok()?;
        match parts.as_slice() {
            [HeaderPart::Text(text)] => HeaderValue::from_str(text).ok().map(Self::Literal),
            _ => Some(Self::Format(parts)),
        }
    }

    pub(crate) fn is_format(&self) -> bool {
        matches!(self, Self::Format(_))
    }

    /// A value without substitutions; `None` if it is empty.
    pub(crate) fn literal(&self) -> Option<HeaderValue> {
        match self {
            Self::Literal(value) if !value.is_empty() => Some(value.clone()),
            Self::Literal(_) | Self::Format(_) => None,
        }
    }

    /// The value for `message`, whose headers so far are `headers`; `None` if it is empty.
    pub(crate) fn value(
        &self,
        headers: &HeaderMap,
        message: Option<&Message<'_>>,
    ) -> Option<HeaderValue> {
        let Self::Format(parts) = self else {
            return self.literal();
        };
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                HeaderPart::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                HeaderPart::Value { operator, length } => {
                    let value = message?.value(operator, headers).unwrap_or_default();
                    let end = length.map_or(value.len(), |it| it.min(value.len()));
                    bytes.extend_from_slice(value.get(..end)?);
                }
            }
        }
        let value = HeaderValue::from_bytes(&bytes).ok()?;
        (!value.is_empty()).then_some(value)
    }
}

impl RequestFacts {
    pub(crate) fn new(
        request: &RequestHead<'_>,
        port: u16,
        route: &str,
        cluster: Option<&str>,
    ) -> Self {
        let path = match request.query {
            Some(query) => format!("{}?{query}", request.path),
            None => request.path.to_owned(),
        };
        Self {
            method: request.method.to_string(),
            scheme: request.scheme.to_owned(),
            authority: request.authority.to_owned(),
            path,
            source_ip: request.source_ip,
            port,
            route: route.to_owned(),
            cluster: cluster.map(str::to_owned),
            sent: OnceLock::new(),
        }
    }

    /// The request, before its headers are written.
    pub(crate) fn request<'a>(
        &'a self,
        version: Version,
        call: Option<&'a CallFacts>,
    ) -> Message<'a> {
        Message {
            facts: self,
            version: Some(version),
            call,
            response: None,
        }
    }

    /// Keeps the request for the headers of its response.
    pub(crate) fn sent(&self, parts: &request::Parts) {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(|it| it.as_str()));
        // Only the first call counts.
        let _ = self.sent.set(SentFacts {
            authority: host.unwrap_or(&self.authority).to_owned(),
            path: parts
                .uri
                .path_and_query()
                .map_or_else(String::new, |it| it.to_string()),
            headers: parts.headers.clone(),
            version: Some(parts.version),
            call: parts.extensions.get().cloned(),
        });
    }

    /// A response, whoever it is from.
    pub(crate) fn response(&self, status: StatusCode, flags: ResponseFlags) -> Message<'_> {
        let sent = self.sent.get();
        Message {
            facts: self,
            version: sent.and_then(|sent| sent.version),
            call: sent.and_then(|sent| sent.call.as_ref()),
            response: Some(ResponseHead {
                status,
                code: status.as_u16(),
                flags,
                sent,
            }),
        }
    }

    /// The mesh's own reply to `request`, which is not forwarded.
    pub(crate) fn own_reply(&self, request: &RequestHead<'_>, status: StatusCode) -> Message<'_> {
        let _ = self.sent.set(SentFacts {
            authority: self.authority.clone(),
            path: self.path.clone(),
            headers: request.headers.clone(),
            version: None,
            call: None,
        });
        Message {
            facts: self,
            version: None,
            call: None,
            response: Some(ResponseHead {
                status,
                code: 0,
                flags: ResponseFlags::NONE,
                sent: self.sent.get(),
            }),
        }
    }
}

impl Message<'_> {
    fn value(&self, operator: &Operator, headers: &HeaderMap) -> Option<Vec<u8>> {
        let text = match operator {
            Operator::RequestHeader(name, other) => {
                let other = || self.request_header(other.as_deref()?, headers);
                return self.request_header(name, headers).or_else(other);
            }
            Operator::ResponseHeader(name, other) => {
                let other = || self.response_header(other.as_deref()?, headers);
                return self.response_header(name, headers).or_else(other);
            }
            Operator::Path {
                original,
                with_query,
            } => {
                let path = self.path(*original)?;
                match with_query {
                    true => path.to_owned(),
                    false => path.split('?').next()?.to_owned(),
                }
            }
            Operator::QueryParameter(name) => {
                let (_, query) = self.current_path().split_once('?')?;
                query::value(query, name)?.to_string()
            }
            Operator::Protocol => format!("{:?}", self.version?).replace("2.0", "2"),
            Operator::ResponseCode => {
                let code = self.response.as_ref().map_or(0, |response| response.code);
                code.to_string()
            }
            Operator::ResponseFlags => match &self.response {
                Some(response) => response.flags.to_string(),
                None => "-".into(),
            },
            Operator::UpstreamCluster => self.facts.cluster.clone()?,
            Operator::RouteName => self.facts.route.clone(),
            Operator::RemoteAddress => self.facts.source_ip?.to_string(),
            Operator::LocalPort => self.facts.port.to_string(),
            Operator::StartTime(format) => start_time::format(format, self.call?.start),
            Operator::TraceId => self.call?.trace_id.clone(),
            Operator::NoValue => return None,
        };
        Some(text.into_bytes())
    }

    fn current_path(&self) -> &str {
        let sent = self.response.as_ref().and_then(|response| response.sent);
        sent.map_or(self.facts.path.as_str(), |sent| sent.path.as_str())
    }

    fn path(&self, original: Option<bool>) -> Option<&str> {
        let sent = self.response.as_ref().and_then(|response| response.sent);
        let rewritten = sent.and_then(|sent| sent.headers.get(ORIGINAL_PATH)?.to_str().ok());
        match original {
            Some(true) => rewritten,
            Some(false) => Some(self.current_path()),
            None => rewritten.or_else(|| Some(self.current_path())),
        }
    }

    /// The first line of a header of the request. `headers` are those of the message.
    fn request_header(&self, name: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
        let sent = self.response.as_ref().and_then(|response| response.sent);
        let pseudo = match name {
            ":method" => Some(self.facts.method.as_str()),
            ":scheme" => Some(self.facts.scheme.as_str()),
            ":authority" | "host" => {
                Some(sent.map_or(self.facts.authority.as_str(), |it| it.authority.as_str()))
            }
            ":path" => Some(self.current_path()),
            // Envoy rewrites the path after it has written the headers.
            ORIGINAL_PATH if self.response.is_none() => return None,
            _ => None,
        };
        if let Some(value) = pseudo {
            return Some(value.as_bytes().to_vec());
        }
        let headers = match &self.response {
            Some(_) => &sent?.headers,
            None => headers,
        };
        headers.get(name).map(|value| value.as_bytes().to_vec())
    }

    fn response_header(&self, name: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
        let response = self.response.as_ref()?;
        match name {
            ":status" => Some(response.status.as_str().as_bytes().to_vec()),
            name => headers.get(name).map(|value| value.as_bytes().to_vec()),
        }
    }
}

const ORIGINAL_PATH: &str = "x-envoy-original-path";
