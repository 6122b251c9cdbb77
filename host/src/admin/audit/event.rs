//! An Event of `audit.k8s.io/v1`, one line of JSON for each stage of a request.

use std::net::IpAddr;

use http::request::Parts;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::attributes::Attributes;
use super::policy::Level;

/// A stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Stage {
    RequestReceived,
    /// The head of a long response was sent.
    ResponseStarted,
    ResponseComplete,
    /// Kubernetes has it; the host logs no such event, since a panic is its own defect.
    Panic,
}

/// The longest URI and user agent in an event; clients choose them.
const TEXT_MAX: usize = 4 << 10;

/// See the module's documentation.
pub(super) struct Event {
    /// Everything but the stage and its time.
    fields: Map<String, Value>,
}

impl Event {
    pub(super) fn new(
        request: &Parts,
        client: IpAddr,
        attributes: &Attributes,
        level: Level,
    ) -> Self {
        let agent = request.headers.get(header::USER_AGENT);
        let agent = agent.and_then(|value| value.to_str().ok());
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("kind", "Event".into());
        set("apiVersion", "audit.k8s.io/v1".into());
        set("level", format!("{level:?}").into());
        set("auditID", uuid::Uuid::new_v4().to_string().into());
        set("requestURI", shortened(&request.uri.to_string()).into());
        set("verb", attributes.verb.clone().into());
        set(
            "user",
            json!({"username": attributes.user, "groups": attributes.groups}),
        );
        set("sourceIPs", json!([client.to_canonical()]));
        if let Some(agent) = agent {
            set("userAgent", shortened(agent).into());
        }
        if let Some(resource) = &attributes.resource {
            let parts = [
                ("resource", &resource.resource),
                ("namespace", &resource.namespace),
                ("name", &resource.name),
                ("apiGroup", &resource.group),
                ("apiVersion", &resource.version),
                ("subresource", &resource.subresource),
            ];
            let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
            let parts = parts.map(|(name, value)| (name.to_owned(), value.clone().into()));
            set("objectRef", Value::Object(parts.collect()));
        }
        set("requestReceivedTimestamp", now());
        Self { fields }
    }

    /// Whether the path does not name the object, as when it is created.
    pub(super) fn lacks_name(&self) -> bool {
        let object = self.fields.get("objectRef");
        object.is_some_and(|object| object.get("name").is_none())
    }

    /// Takes the name of the object from the object itself.
    pub(super) fn name(&mut self, object: &Value) {
        if let (Some(to), Some(name)) = (
            self.fields.get_mut("objectRef"),
            object["metadata"]["name"].as_str(),
        ) {
            to["name"] = name.into();
        }
    }

    pub(super) fn request_object(&mut self, object: Value) {
        self.fields.insert("requestObject".to_owned(), object);
    }

    pub(super) fn response_object(&mut self, object: Value) {
        self.fields.insert("responseObject".to_owned(), object);
    }

    /// A body is left out because it is too long.
    pub(super) fn truncated(&mut self) {
        self.annotate("audit.k8s.io/truncated", "true");
    }

    pub(super) fn respond(&mut self, status: StatusCode) {
        let status = json!({"metadata": {}, "code": status.as_u16()});
        self.fields.insert("responseStatus".to_owned(), status);
        self.annotate("authorization.k8s.io/decision", "allow");
        self.annotate("authorization.k8s.io/reason", "");
    }

    /// The response is this `Status`.
    pub(super) fn fail(&mut self, code: StatusCode, status: &Value) {
        let mut failed = json!({"metadata": {}, "code": code.as_u16()});
        for name in ["status", "message", "reason"] {
            if let Some(text) = status[name].as_str() {
                failed[name] = text.into();
            }
        }
        self.fields.insert("responseStatus".to_owned(), failed);
        if code == StatusCode::FORBIDDEN {
            self.annotate("authorization.k8s.io/decision", "forbid");
            let reason = status["message"].as_str().unwrap_or_default();
            self.annotate("authorization.k8s.io/reason", reason);
        }
    }

    fn annotate(&mut self, name: &str, value: &str) {
        let annotations = self
            .fields
            .entry("annotations")
            .or_insert_with(|| json!({}));
        annotations[name] = value.into();
    }

    /// The line of a stage, which happens now.
    pub(super) fn line(&self, stage: Stage) -> Vec<u8> {
        let mut fields = self.fields.clone();
        fields.insert("stage".to_owned(), format!("{stage:?}").into());
        fields.insert("stageTimestamp".to_owned(), now());
        Value::Object(fields).to_string().into_bytes()
    }
}

/// Microseconds, as in Kubernetes.
fn now() -> Value {
    format!("{:.6}", Timestamp::now()).into()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
