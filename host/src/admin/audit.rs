//! The audit log: who did what by the API, in Kubernetes' format.
//!
//! `policy.rs` decides for each request how much of it is logged, from what
//! `attributes.rs` finds in its head. A request is logged in stages: when it is received,
//! when the response of a watch begins, and when a response is complete (`event.rs`). The
//! lines go to a bounded buffer, so that a slow or full disk (`file.rs`) never delays a
//! response; lines that do not fit are counted.
//!
//! Bodies of Secrets are never logged, whatever the policy says.

mod attributes;
mod event;
mod file;
mod policy;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use serde_json::Value;

use super::access::{Access, is_confidential};
use super::failure::Failure;
use super::{apply, body};
use crate::settings::audit::{AuditFiles, AuditSettings};
use crate::telemetry::sink::Sink;
use attributes::Attributes;
use event::{Event, Stage};
use file::LogFile;
use policy::{Level, Policy};

/// The longest body that is part of an event; instead of a longer one, the event says that
/// it is truncated.
const BODY_MAX: usize = 1 << 20;

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error("cannot read --audit-policy-file `{}`", file.display())]
    Policy { file: PathBuf, source: io::Error },
    #[error("--audit-policy-file `{}` is not valid: {why}", file.display())]
    InvalidPolicy { file: PathBuf, why: String },
    #[error("cannot write --audit-log-path `{}`", file.display())]
    Log { file: PathBuf, source: io::Error },
    #[error("cannot start the thread of the audit log")]
    Thread(#[source] io::Error),
}

/// See the module's documentation.
pub(crate) struct Audit {
    policy: Policy,
    sink: Sink,
}

/// A request that is logged.
pub(super) struct Entry {
    event: Event,
    level: Level,
    omitted: Vec<Stage>,
    omits_managed_fields: bool,
    is_streamed: bool,
    sink: Sink,
}

impl Audit {
    /// `None` if the settings ask for no log. `dropped` counts events that are lost.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub(crate) fn open(
        settings: &AuditSettings,
        dropped: IntCounter,
    ) -> Result<Option<Self>, AuditError> {
        let Some(files) = settings.files() else {
            return Ok(None);
        };
        let AuditFiles {
            policy: file,
            log,
            rotation,
        } = files;
        let text = std::fs::read_to_string(file).map_err(|source| AuditError::Policy {
            file: file.into(),
            source,
        })?;
        let policy = Policy::parse(&text).map_err(|why| AuditError::InvalidPolicy {
            file: file.into(),
            why,
        })?;
        let sink = match log {
            None => Sink::start(io::stdout(), dropped),
            Some(log) => {
                let opened = LogFile::open(log, rotation).map_err(|source| AuditError::Log {
                    file: log.into(),
                    source,
                })?;
                Sink::start(opened, dropped)
            }
        };
        let sink = sink.map_err(AuditError::Thread)?;
        Ok(Some(Self { policy, sink }))
    }

    /// Writes what is left.
    pub(crate) fn close(&self) {
        self.sink.close();
    }

    /// Logs that a request was received; `None` if the policy does not ask for it.
    pub(super) fn begin(&self, request: &Parts, client: IpAddr, access: Access) -> Option<Entry> {
        let entry = self.entry(request, client, Some(access))?;
        entry.log(Stage::RequestReceived);
        Some(entry)
    }

    /// Logs a request without a valid token.
    pub(super) fn refused(&self, request: &Parts, client: IpAddr, failure: &Failure) {
        // The number of these requests is not limited.
        if *failure == Failure::TooManyGuesses {
            return;
        }
        if let Some(mut entry) = self.entry(request, client, None) {
            entry.event.fail(failure.code(), &failure.status());
            entry.log(Stage::ResponseStarted);
        }
    }

    fn entry(&self, request: &Parts, client: IpAddr, access: Option<Access>) -> Option<Entry> {
        let attributes = Attributes::of(request, access);
        let mut decision = self.policy.decide(&attributes)?;
        let of_secrets = attributes.resource.as_ref();
        if of_secrets.is_some_and(|it| is_confidential(&it.resource)) {
            decision.level = decision.level.min(Level::Metadata);
        }
        Some(Entry {
            is_streamed: attributes.is_streamed,
            event: Event::new(request, client, &attributes, decision.level),
            level: decision.level,
            omitted: decision.omitted,
            omits_managed_fields: decision.omits_managed_fields,
            sink: self.sink.clone(),
        })
    }
}

impl Entry {
    /// Reads the body of a write, which the event may have and which may name the object.
    ///
    /// # Errors
    /// The body is too large, or does not arrive in time.
    pub(super) async fn request(&mut self, request: &Parts, sent: Body) -> Result<Body, Failure> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        if is_read || request.headers.contains_key(header::UPGRADE) {
            return Ok(sent);
        }
        let bytes = body::read(sent).await?;
        let wants_name = request.method == Method::POST && self.event.lacks_name();
        if (wants_name || self.level >= Level::Request)
            && let Some(object) = self.parsed(request, &bytes)
        {
            if wants_name {
                self.event.name(&object);
            }
            if self.level >= Level::Request {
                self.event.request_object(self.shown(object));
            }
        }
        Ok(Body::from(bytes))
    }

    fn parsed(&mut self, request: &Parts, bytes: &Bytes) -> Option<Value> {
        if bytes.is_empty() {
            return None;
        }
        if bytes.len() > BODY_MAX {
            self.event.truncated();
            return None;
        }
        let media_type = body::media_type(&request.headers);
        let parsed = match (&request.method, media_type == apply::MEDIA_TYPE) {
            (&Method::PATCH, true) => body::yaml(bytes),
            (&Method::PATCH, false) => body::json(bytes),
            _ => body::object(request, bytes),
        };
        parsed.ok()
    }

    /// Logs the response, or its beginning and its end if it is a stream.
    pub(super) async fn respond(mut self, response: Response<Body>) -> Response<Body> {
        let (parts, sent) = response.into_parts();
        let is_failure = parts.status.is_client_error() || parts.status.is_server_error();
        self.event.respond(parts.status);
        if self.is_streamed && !is_failure {
            self.log(Stage::ResponseStarted);
            let stream = sent.into_data_stream();
            // Logged when the stream has ended, or the client is gone.
            let end = EndOfStream(self);
            let stream = stream.map(move |data| {
                let _held = &end;
                data
            });
            return Response::from_parts(parts, Body::from_stream(stream));
        }
        let has_body = self.level == Level::RequestResponse || is_failure;
        if !has_body || parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.log(Stage::ResponseComplete);
            return Response::from_parts(parts, sent);
        }
        // Responses that are not streams are in memory already.
        let bytes = match sent.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let object = match bytes.len() > BODY_MAX {
            true => None,
            false => serde_json::from_slice::<Value>(&bytes).ok(),
        };
        if bytes.len() > BODY_MAX {
            self.event.truncated();
        }
        if let Some(object) = object {
            if is_failure {
                self.event.fail(parts.status, &object);
            }
            if self.level == Level::RequestResponse {
                self.event.response_object(self.shown(object));
            }
        }
        self.log(Stage::ResponseComplete);
        Response::from_parts(parts, Body::from(bytes))
    }

    /// An object as the policy wants it.
    fn shown(&self, mut object: Value) -> Value {
        if self.omits_managed_fields {
            without_managed_fields(&mut object);
            if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
                items.iter_mut().for_each(without_managed_fields);
            }
        }
        object
    }

    fn log(&self, stage: Stage) {
        if !self.omitted.contains(&stage) {
            self.sink.line(&self.event.line(stage));
        }
    }
}

fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Logs the end of a stream when it is dropped.
struct EndOfStream(Entry);

impl Drop for EndOfStream {
    fn drop(&mut self) {
        self.0.log(Stage::ResponseComplete);
    }
}
